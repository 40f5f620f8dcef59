#include "sim/trace.h"

#include "gtest/gtest.h"

namespace tandem::sim {
namespace {

TEST(TraceTest, DrawnArrivalsHaveTheirRateAndComeFromTheSeed) {
  const ArrivalOptions options{.rate = 5, .cv = 2, .duration = absl::Seconds(2000)};
  const std::vector<TraceRequest> a = DrawTrace(options), b = DrawTrace(options);
  EXPECT_NEAR(static_cast<double>(a.size()), 10000, 600);
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(a.back().arrival, b.back().arrival);
}

}  // namespace
}  // namespace tandem::sim
