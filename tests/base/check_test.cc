#include "base/check.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(CheckTest, ATrueConditionDoesNotEvaluateItsMessage) {
  int evaluated = 0;
  CHECK(1 + 1 == 2) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
}

TEST(CheckTest, AnElseAfterItBelongsToTheIfBeforeIt) {
  bool reached = false;
  if (reached)
    CHECK(true);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

TEST(CheckDeathTest, AFalseConditionSaysWhereWhatAndWhyAndAborts) {
  EXPECT_EXIT(CHECK(1 > 2) << "why: " << 42, testing::KilledBySignal(SIGABRT),
              "check_test.cc:[0-9]+: CHECK failed: 1 > 2 why: 42");
}

TEST(CheckDeathTest, ComparisonsShowBothSides) {
  const int three = 3;
  EXPECT_DEATH(CHECK_EQ(three, 4), "three.*got 3, want 4");
  EXPECT_DEATH(CHECK_LE(three, 2), "got 3, want at most 2");
  EXPECT_DEATH(CHECK_LT(three, 3), "got 3, want less than 3");
  EXPECT_DEATH(CHECK_GE(three, 4), "got 3, want at least 4");
  EXPECT_DEATH(CHECK_GT(three, 3), "got 3, want more than 3");
}

TEST(CheckTest, ComparisonsThatHoldPass) {
  CHECK_EQ(3, 3);
  CHECK_LE(3, 3);
  CHECK_LT(2, 3);
  CHECK_GE(3, 3);
  CHECK_GT(4, 3);
}

}  // namespace
}  // namespace tandem
