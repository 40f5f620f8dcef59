#include "kv/block_pool.h"

#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<BlockId> Ids(const BlockTable& table) {
  return {table.blocks().begin(), table.blocks().end()};
}

TEST(BlockPoolTest, StartsFreeAndHandsOutIdsInOrder) {
  BlockPool pool(4, 16);
  EXPECT_EQ(pool.num_blocks(), 4);
  EXPECT_EQ(pool.block_size(), 16);
  EXPECT_EQ(pool.free(), 4);
  const BlockTable a = *pool.Allocate(3);
  EXPECT_THAT(Ids(a), ElementsAre(0, 1, 2));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(pool.used(), 3);
}

TEST(BlockPoolTest, AllocatesAllOrNothing) {
  BlockPool pool(4, 16);
  const BlockTable held = *pool.Allocate(3);
  const absl::StatusOr<BlockTable> refused = pool.Allocate(2);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("1 of 4 blocks are free, want 2"));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_TRUE(pool.Allocate(1).ok());
}

TEST(BlockPoolTest, AnEmptyAllocationHoldsNothing) {
  BlockPool pool(0, 16);
  const BlockTable table = *pool.Allocate(0);
  EXPECT_TRUE(table.empty());
  EXPECT_FALSE(pool.Allocate(1).ok());
}

TEST(BlockPoolTest, DestroyedTableReturnsItsBlocks) {
  BlockPool pool(4, 16);
  { const BlockTable table = *pool.Allocate(4); }
  EXPECT_EQ(pool.free(), 4);
}

TEST(BlockPoolTest, ReleasedTableIsEmptyAndReturnsOnlyOnce) {
  BlockPool pool(4, 16);
  {
    BlockTable table = *pool.Allocate(2);
    table.Release();
    EXPECT_TRUE(table.empty());
    EXPECT_EQ(pool.free(), 4);
    table.Release();
    EXPECT_EQ(pool.free(), 4);
  }
  EXPECT_EQ(pool.free(), 4);
}

TEST(BlockPoolTest, MoveConstructionMovesOwnershipAndKeepsTheSpan) {
  BlockPool pool(4, 16);
  BlockTable a = *pool.Allocate(2);
  const std::span<const BlockId> span = a.blocks();
  const BlockTable b = std::move(a);
  EXPECT_EQ(b.blocks().data(), span.data());
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): the moved-from state is the contract under test
  EXPECT_EQ(pool.used(), 2);
}

TEST(BlockPoolTest, MoveAssignmentReturnsWhatTheTargetHeld) {
  BlockPool pool(4, 16);
  BlockTable a = *pool.Allocate(1);
  BlockTable b = *pool.Allocate(2);
  b = std::move(a);
  EXPECT_EQ(pool.used(), 1);
  EXPECT_THAT(Ids(b), ElementsAre(0));
}

TEST(BlockPoolTest, LastReturnedIsFirstReused) {
  BlockPool pool(6, 16);
  const BlockTable keep = *pool.Allocate(2);
  BlockTable table = *pool.Allocate(3);
  const std::vector<BlockId> ids = Ids(table);
  table.Release();
  EXPECT_EQ(Ids(*pool.Allocate(3)), ids);
}

TEST(BlockPoolTest, HighWaterMarkRemembersTheMostThatWasUsed) {
  BlockPool pool(8, 16);
  { const BlockTable table = *pool.Allocate(5); }
  const BlockTable small = *pool.Allocate(2);
  EXPECT_EQ(pool.used(), 2);
  EXPECT_EQ(pool.high_water_mark(), 5);
}

TEST(BlockPoolTest, BlocksForRoundsUp) {
  BlockPool pool(1, 16);
  EXPECT_EQ(pool.BlocksFor(0), 0);
  EXPECT_EQ(pool.BlocksFor(1), 1);
  EXPECT_EQ(pool.BlocksFor(16), 1);
  EXPECT_EQ(pool.BlocksFor(17), 2);
  EXPECT_EQ(pool.BlocksFor(int64_t{1} << 40), int64_t{1} << 36);
}

TEST(BlockPoolTest, NoIdIsEverHeldTwice) {
  std::mt19937 random(7);
  BlockPool pool(37, 16);
  std::vector<BlockTable> tables;
  for (int i = 0; i < 2000; ++i) {
    if (random() % 2 == 0 && !tables.empty()) {
      std::swap(tables[random() % tables.size()], tables.back());
      tables.pop_back();
    } else if (absl::StatusOr<BlockTable> table = pool.Allocate(random() % 12); table.ok()) {
      tables.push_back(*std::move(table));
    }
    std::set<BlockId> held;
    int count = 0;
    for (const BlockTable& table : tables) {
      held.insert(table.blocks().begin(), table.blocks().end());
      count += table.size();
    }
    ASSERT_EQ(held.size(), count);
    ASSERT_EQ(pool.used(), count);
    ASSERT_TRUE(held.empty() || (*held.begin() >= 0 && *held.rbegin() < 37));
  }
}

TEST(BlockPoolDeathTest, ATableMustNotOutliveItsPool) {
  EXPECT_DEATH(
      {
        BlockTable table;
        BlockPool pool(1, 16);
        table = *pool.Allocate(1);
      },
      "outlives its pool");
}

TEST(BlockPool, OfAMatchOnlyWhatIsHeldUpToTheFirstUnusedBlockIsCertain) {
  BlockPool pool(8, 1);
  const PrefixId root = PrefixRoot({}, "");
  const std::vector<int32_t> tokens = {1, 2, 3};
  BlockTable first = *pool.Allocate(2), second = *pool.Allocate(3);
  const auto remember = [&](BlockTable& table, int count) {
    PrefixId parent = root;
    for (int i = 0; i < count; ++i) {
      parent = pool.Remember(table.blocks()[i], parent, std::span(tokens).subspan(i, 1));
    }
  };
  remember(first, 2);
  remember(second, 3);  // the first two are found in `first`, the third is its own
  EXPECT_EQ(pool.Find(root, tokens, 3).held, 3);
  first.Release();
  EXPECT_EQ(pool.Find(root, tokens, 3).blocks.size(), 3u);
  EXPECT_EQ(pool.Find(root, tokens, 3).held, 0);
  BlockTable rest = *pool.Allocate(5);  // takes the unused ones
  EXPECT_EQ(pool.Find(root, tokens, 3).blocks.size(), 0u);
}

}  // namespace
}  // namespace tandem
