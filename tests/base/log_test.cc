#include "base/log.h"

#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(InitLoggingTest, RefusesAnUnknownLevelAndListsTheKnownOnes) {
  EXPECT_EQ(InitLogging("loud"),
            absl::InvalidArgumentError("log level 'loud', want one of trace, debug, info, warn, error, off"));
}

TEST(InitLoggingTest, AcceptsEveryLevelItLists) {
  for (const char* level : {"trace", "debug", "info", "warn", "error", "off"})
    EXPECT_TRUE(InitLogging(level).ok()) << level;
  EXPECT_TRUE(InitLogging("info").ok());
}

}  // namespace
}  // namespace tandem
