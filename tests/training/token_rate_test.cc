#include "training/token_rate.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

absl::Time At(double seconds) {
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

TEST(TokenRate, IsZeroBeforeTheStart) {
  EXPECT_EQ(TokenRate().PerSecond(At(5)), 0);
}

TEST(TokenRate, GrowsItsFirstWindowFromTheStart) {
  TokenRate rate;
  rate.Start(At(0));
  EXPECT_EQ(rate.PerSecond(At(0)), 0);
  rate.Add(At(2), 100);
  EXPECT_DOUBLE_EQ(rate.PerSecond(At(2)), 50);
  EXPECT_DOUBLE_EQ(rate.PerSecond(At(4)), 25);
}

TEST(TokenRate, ForgetsWhatLeftTheWindow) {
  TokenRate rate;
  rate.Start(At(0));
  rate.Add(At(1), 1000);
  rate.Add(At(8), 200);
  EXPECT_DOUBLE_EQ(rate.PerSecond(At(12)), 20);
  EXPECT_EQ(rate.PerSecond(At(18)), 0);
}

TEST(TokenRate, StartsAnew) {
  TokenRate rate;
  rate.Start(At(0));
  rate.Add(At(1), 1000);
  rate.Start(At(2));
  EXPECT_EQ(rate.PerSecond(At(3)), 0);
}

}  // namespace
}  // namespace tandem
