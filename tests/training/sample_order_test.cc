#include "training/sample_order.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

TEST(EpochOrder, WithoutShufflingKeepsTheOrderOfTheFile) {
  EXPECT_THAT(EpochOrder(4, 7, 3, Shuffle::kNo), ElementsAre(0, 1, 2, 3));
}

TEST(EpochOrder, HoldsEverySampleOnce) {
  for (const int n : {1, 2, 3, 17, 1000}) {
    std::vector<int> order = EpochOrder(n, 42, 0, Shuffle::kYes);
    std::sort(order.begin(), order.end());
    std::vector<int> all(n);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
}

// From tests/training/golden/make.py, which draws the same way in Python's whole numbers.
TEST(EpochOrder, IsTheSameOnEveryMachine) {
  EXPECT_THAT(EpochOrder(10, 0, 0, Shuffle::kYes), ElementsAre(4, 7, 0, 5, 9, 3, 6, 2, 8, 1));
  EXPECT_THAT(EpochOrder(10, 0, 1, Shuffle::kYes), ElementsAre(7, 8, 4, 0, 9, 2, 6, 3, 5, 1));
  EXPECT_THAT(EpochOrder(10, 1, 0, Shuffle::kYes), ElementsAre(1, 9, 0, 7, 4, 2, 5, 3, 8, 6));
}

// 24 orders of 4 samples over 24000 seeds: 1000 of each expected, standard deviation 31.
TEST(EpochOrder, EveryOrderIsEquallyLikely) {
  std::map<std::vector<int>, int> counts;
  for (uint64_t seed = 0; seed < 24'000; ++seed) ++counts[EpochOrder(4, seed, 0, Shuffle::kYes)];
  EXPECT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace
}  // namespace tandem
