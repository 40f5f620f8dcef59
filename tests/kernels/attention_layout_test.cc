// What attention computes about places: the pool's layout, swizzles, the plan of a mixed batch. Plain host code.
#include <algorithm>
#include <map>
#include <set>

#include "attention/prefill.h"
#include "attention/work_plan.h"
#include "common/swizzle.h"
#include "gtest/gtest.h"

namespace tandem::kernels {
namespace {

TEST(KvLayout, EveryPositionHasItsOwnPlace) {
  const KvPool pool{.block_shift = 5, .num_kv_heads = 3, .head_dim = 16};
  const int32_t blocks[] = {4, 0, 2};
  std::set<int64_t> places;
  for (int position = 0; position < 96; ++position) {
    for (int head = 0; head < 3; ++head) {
      const int64_t place = PositionOffset(pool, blocks, position, head);
      EXPECT_EQ(place % 16, 0);
      EXPECT_TRUE(place >= 0 && place < 5 * 32 * 3 * 16);
      EXPECT_TRUE(places.insert(place).second) << position;
      // Sixteen aligned positions are one contiguous piece.
      EXPECT_EQ(place, PositionOffset(pool, blocks, position / 16 * 16, head) + position % 16 * 16);
    }
  }
}

TEST(KvLayout, PackedRowsAreTokensWithTheirHeads) {
  const KvPool pool{.num_kv_heads = 2, .head_dim = 16};
  const AttentionSpan span{.first_row = 5, .num_rows = 4, .first_position = 40};
  // Packed row 7 of group 3: token 2, head 1 of the group; of KV head 1: query head 4 of 6.
  EXPECT_EQ(PackedPosition(span, 3, 7), 42);
  EXPECT_EQ(PackedIndex(span, pool, 3, 1, 7), 7 * 6 + 4);
  EXPECT_EQ(PackedOffset(span, pool, 3, 1, 7), (7 * 6 + 4) * 16);
}

TEST(KvLayout, WindowsBeginWhereTheySay) {
  EXPECT_EQ(FirstSeen(100, 0), 0);
  EXPECT_EQ(FirstSeen(100, 1), 100);
  EXPECT_EQ(FirstSeen(100, 101), 0);
  EXPECT_EQ(FirstSeen(100, 100), 1);
}

// Eight addresses of 16 bytes are served at once where they lie in different columns of 16 bytes (of 128).
template <int kDim>
void ExpectNoBankConflicts() {
  constexpr int kChunks = kDim / 8;
  std::set<int> all;
  for (int row = 0; row < 64; ++row) {
    for (int chunk = 0; chunk < kChunks; ++chunk) all.insert(TileOffset<kDim>(row, chunk));
  }
  EXPECT_EQ(all.size(), 64u * kChunks);  // no two chunks share a place, and all places are in the tile
  EXPECT_EQ(*all.rbegin(), 64 * kDim - 8);
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    for (int row = 0; row < 64; row += 8) {  // one matrix of ldmatrix
      std::set<int> columns;
      for (int r = row; r < row + 8; ++r) columns.insert(TileOffset<kDim>(r, chunk) / 8 % 8);
      EXPECT_EQ(columns.size(), 8u) << "head_dim " << kDim << ", row " << row << ", chunk " << chunk;
    }
  }
  if (kChunks % 8 != 0) return;
  for (int row = 0; row < 8; ++row) {  // eight neighbours of the copies that fill a tile
    for (int chunk = 0; chunk < kChunks; chunk += 8) {
      std::set<int> columns;
      for (int c = chunk; c < chunk + 8; ++c) columns.insert(TileOffset<kDim>(row, c) / 8 % 8);
      EXPECT_EQ(columns.size(), 8u);
    }
  }
}

TEST(Swizzle, LdMatrixMeetsEveryBankOnce) {
  ExpectNoBankConflicts<64>();
  ExpectNoBankConflicts<96>();
  ExpectNoBankConflicts<128>();
  ExpectNoBankConflicts<256>();
}

const PlanOptions kOptions{.group = 4, .num_kv_heads = 2};

// Spans are told apart by their first positions here. Every packed row that a plan gives to the prefill kernel, and how
// often.
std::map<std::pair<int, int>, int> PrefillRows(const AttentionPlan& plan, const PlanOptions& options) {
  std::map<std::pair<int, int>, int> rows;
  for (const RowTile& tile : plan.prefill) {
    const int end = std::min(tile.first + options.prefill_rows, tile.span.num_rows * options.group);
    for (int row = tile.first; row < end; ++row) ++rows[{tile.span.first_position, row}];
  }
  return rows;
}

TEST(WorkPlan, SpansGoWhereTheyBelong) {
  const std::vector<AttentionSpan> spans = {{.num_rows = 1, .first_position = 10},
                                            {.num_rows = 100},
                                            {.num_rows = 4, .first_position = 50},
                                            {.num_rows = 5, .first_position = 3}};
  const AttentionPlan plan = PlanAttention(spans, kOptions);
  const auto rows = PrefillRows(plan, kOptions);
  EXPECT_EQ(rows.size(), (100u + 5) * 4);
  for (const auto& [row, times] : rows) EXPECT_EQ(times, 1) << row.second;
  ASSERT_EQ(plan.decode.size(), 2u);
  EXPECT_EQ(plan.decode[0].span.first_position, 10);
  EXPECT_EQ(plan.decode[1].span.first_position, 50);
  EXPECT_EQ(plan.decode[1].num_rows, 16);
  EXPECT_EQ(plan.decode[1].partial, -1);
  EXPECT_TRUE(plan.combine.empty());
}

TEST(WorkPlan, DeterministicMeansOneKernel) {
  const std::vector<AttentionSpan> spans = {{.num_rows = 1, .first_position = 1000}, {.num_rows = 3}};
  PlanOptions options = kOptions;
  options.deterministic = true;
  const AttentionPlan plan = PlanAttention(spans, options);
  EXPECT_TRUE(plan.decode.empty());
  EXPECT_EQ(PrefillRows(plan, options).size(), 16u);
}

TEST(WorkPlan, SplitsCoverWhatARowSees) {
  for (const int window : {0, 1, 300, 5000}) {
    for (const int position : {0, 255, 256, 1000, 4095, 4096, 9000}) {
      PlanOptions options = kOptions;
      options.window = window;
      const AttentionPlan plan =
          PlanAttention(std::vector<AttentionSpan>{{.num_rows = 1, .first_position = position}}, options);
      const int split = SplitTokens(position + 1), seen = FirstSeen(position, window);
      int next = seen / kPageGrain * kPageGrain;
      for (const DecodeItem& item : plan.decode) {
        EXPECT_EQ(item.begin, next);
        EXPECT_EQ(item.begin / split, (item.end - 1) / split) << "a split lies at an absolute position";
        next = item.end;
      }
      EXPECT_EQ(next, position + 1);
      EXPECT_EQ(plan.combine.size(), plan.decode.size() > 1 ? 1u : 0u);
    }
  }
}

TEST(WorkPlan, PartialRowsAreNobodyElses) {
  const std::vector<AttentionSpan> spans = {{.num_rows = 1, .first_position = 600},
                                            {.num_rows = 1, .first_position = 100},
                                            {.num_rows = 3, .first_position = 2000}};
  const AttentionPlan plan = PlanAttention(spans, kOptions);
  std::set<int> rows;
  for (const DecodeItem& item : plan.decode) {
    for (int row = 0; item.partial >= 0 && row < item.num_rows * kOptions.num_kv_heads; ++row) {
      EXPECT_TRUE(rows.insert(item.partial + row).second);
    }
  }
  EXPECT_EQ(static_cast<int>(rows.size()), plan.partial_rows);
  EXPECT_EQ(*rows.rbegin(), plan.partial_rows - 1);
  ASSERT_EQ(plan.combine.size(), 2u);
  for (const CombineItem& combine : plan.combine) {
    int split = 0;
    for (const DecodeItem& item : plan.decode) {
      if (item.span.first_position != combine.span.first_position) continue;
      EXPECT_EQ(item.partial, combine.partial + split++ * kOptions.num_kv_heads * combine.num_rows);
    }
    EXPECT_EQ(split, combine.num_splits);
  }
}

TEST(WorkPlan, MoreQueryHeadsThanAnMmaHasRows) {
  PlanOptions options = kOptions;
  options.group = 20;
  const AttentionPlan plan = PlanAttention(std::vector<AttentionSpan>{{.num_rows = 1, .first_position = 7}}, options);
  ASSERT_EQ(plan.decode.size(), 2u);
  EXPECT_EQ(plan.decode[0].num_rows, 16);
  EXPECT_EQ(plan.decode[1].first, 16);
  EXPECT_EQ(plan.decode[1].num_rows, 4);
}

TEST(WorkPlan, TilesWithTheMostKeysComeFirst) {
  const std::vector<AttentionSpan> spans = {{.num_rows = 70}, {.num_rows = 40, .first_position = 500}};
  const AttentionPlan plan = PlanAttention(spans, kOptions);
  ASSERT_EQ(plan.prefill.size(), 5u);
  EXPECT_EQ(plan.prefill.front().span.first_position, 500);
  EXPECT_EQ(plan.prefill.back().span.first_position, 0);
  EXPECT_EQ(plan.prefill.back().first, 0);
}

}  // namespace
}  // namespace tandem::kernels
