// The attention kernels on the emulated device against double precision, and what must hold bit for bit.
#include <bit>
#include <cmath>

#include "attention/decode.h"
#include "attention/prefill.h"
#include "gtest/gtest.h"
#include "kernels/attention_problem.h"

namespace tandem::kernels {
namespace {

template <typename T>
DeviceArray<uint8_t> Bytes(const std::vector<T>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  return DeviceArray<uint8_t>(std::vector<uint8_t>(bytes, bytes + values.size() * sizeof(T)));
}

struct Result {
  std::vector<float> out, lse;
};

// As the backend does it: a plan, then each kernel on its part.
Result RunPlanned(const AttentionProblem& problem, const std::vector<AttentionSpan>& spans, bool deterministic) {
  const AttentionShape& shape = problem.shape();
  const AttentionPlan plan = PlanAttention(spans, {.group = shape.group,
                                                   .num_kv_heads = shape.num_kv_heads,
                                                   .window = shape.window,
                                                   .prefill_rows = PrefillTileRows(shape.head_dim),
                                                   .deterministic = deterministic});
  DeviceArray<uint8_t> out(problem.q_elements() * sizeof(bf16));
  DeviceArray<float> lse(problem.q_elements() / shape.head_dim);
  AttentionArgs args = problem.Args();
  const DeviceArray<AttentionSpan> device_spans(spans);
  args.spans = device_spans.data();
  args.out = out.data();
  args.lse = lse.data();
  const auto tiles = Bytes(plan.prefill), items = Bytes(plan.decode), combines = Bytes(plan.combine);
  const DeviceArray<int32_t> counts({static_cast<int>(plan.decode.size()), static_cast<int>(plan.combine.size())});
  const DeviceArray<uint8_t> scratch(DecodeScratchBytes(plan.partial_rows, shape.head_dim));
  EXPECT_EQ(LaunchPrefillAttention(args, reinterpret_cast<const RowTile*>(tiles.data()),
                                   static_cast<int>(plan.prefill.size()), nullptr),
            cudaSuccess);
  EXPECT_EQ(LaunchDecodeAttention(args,
                                  {.items = reinterpret_cast<const DecodeItem*>(items.data()),
                                   .combines = reinterpret_cast<const CombineItem*>(combines.data()),
                                   .counts = counts.data(),
                                   .scratch = scratch.data(),
                                   .max_items = static_cast<int>(plan.decode.size()),
                                   .max_combines = static_cast<int>(plan.combine.size()),
                                   .scratch_rows = plan.partial_rows},
                                  /*num_sms=*/2, nullptr),
            cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return {FromBytes(out.Read(), Type::kBf16), lse.Read()};
}

Result RunPlanned(const AttentionProblem& problem, bool deterministic) {
  return RunPlanned(problem, problem.spans(), deterministic);
}

Result RunScalar(const AttentionProblem& problem) {
  const AttentionShape& shape = problem.shape();
  DeviceArray<uint8_t> out(problem.q_elements() * BytesOf(shape.type));
  DeviceArray<float> lse(problem.q_elements() / shape.head_dim);
  AttentionArgs args = problem.Args();
  const DeviceArray<AttentionSpan> device_spans(problem.spans());
  args.spans = device_spans.data();
  args.out = out.data();
  args.lse = lse.data();
  EXPECT_EQ(LaunchScalarAttention(args, static_cast<int>(shape.sequences.size()), shape.num_rows(), nullptr),
            cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return {FromBytes(out.Read(), shape.type), lse.Read()};
}

// bf16: the output is rounded once (2^-9 of it), P before P V as well (2^-9 of an average of values of rms 1.15, which
// is far below that). f32: sums of a few hundred terms.
void ExpectNear(const AttentionProblem& problem, const Result& got) {
  const AttentionProblem::Forward want = problem.Reference();
  const double tolerance = problem.shape().type == Type::kBf16 ? 0x1p-7 : 0x1p-18;
  for (size_t i = 0; i < want.out.size(); ++i) {
    ASSERT_NEAR(got.out[i], want.out[i], tolerance * (std::abs(want.out[i]) + 0.5)) << i;
  }
  for (size_t i = 0; i < want.lse.size(); ++i) {
    ASSERT_NEAR(got.lse[i], want.lse[i], 0x1p-16 * (std::abs(want.lse[i]) + 1)) << i;
  }
}

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i])) << i;
}

constexpr std::pair<int, float> kMasks[] = {{0, 0.0f}, {1, 0.0f}, {16, 0.5f}, {70, 0.0f}, {0, 0.5f}};

TEST(PrefillAttention, MatchesDoublePrecision) {
  for (const auto& [window, soft_cap] : kMasks) {
    const AttentionProblem problem({.window = window, .soft_cap = soft_cap, .sequences = {{0, 9}, {37, 40}, {0, 130}}});
    ExpectNear(problem, RunPlanned(problem, true));
    if (HasFailure()) FAIL() << "window " << window << ", soft cap " << soft_cap;
  }
}

TEST(PrefillAttention, EveryHeadDimAndGroup) {
  for (const auto& [head_dim, group] :
       {std::pair{16, 1}, {64, 7}, {80, 2}, {96, 4}, {112, 3}, {128, 1}, {128, 8}, {256, 2}, {160, 5}}) {
    const AttentionProblem problem({.group = group, .head_dim = head_dim, .sequences = {{67, 21}, {0, 33}}});
    ExpectNear(problem, RunPlanned(problem, true));
    if (HasFailure()) FAIL() << "head_dim " << head_dim << ", group " << group;
  }
}

TEST(DecodeAttention, MatchesDoublePrecision) {
  for (const auto& [window, soft_cap] : kMasks) {
    const AttentionProblem problem({.window = window,
                                    .soft_cap = soft_cap,
                                    .sequences = {{0, 1}, {15, 1}, {16, 1}, {255, 1}, {256, 1}, {700, 5}}});
    ExpectNear(problem, RunPlanned(problem, false));
    if (HasFailure()) FAIL() << "window " << window << ", soft cap " << soft_cap;
  }
}

TEST(DecodeAttention, EveryHeadDimAndGroup) {
  for (const auto& [head_dim, group] :
       {std::pair{16, 1}, {64, 7}, {80, 2}, {96, 4}, {112, 3}, {128, 1}, {128, 16}, {64, 20}, {256, 2}, {160, 5}}) {
    const AttentionProblem problem({.group = group, .head_dim = head_dim, .sequences = {{330, 1}, {70, 1}}});
    ExpectNear(problem, RunPlanned(problem, false));
    if (HasFailure()) FAIL() << "head_dim " << head_dim << ", group " << group;
  }
}

// Chunks belong to warps and splits by their absolute position, so neighbours in a tile do not show; the rows begin
// in different chunks and end in different splits.
TEST(DecodeAttention, RowsAtOnceGiveTheBitsOfRowsAlone) {
  for (const int window : {0, 127}) {
    const AttentionProblem problem({.window = window, .sequences = {{252, 8}}});
    std::vector<AttentionSpan> alone;
    for (int r = 0; r < 8; ++r) alone.push_back({.first_row = r, .num_rows = 1, .first_position = 252 + r});
    const Result want = RunPlanned(problem, alone, false), got = RunPlanned(problem, false);
    ExpectSameBits(want.out, got.out);
    ExpectSameBits(want.lse, got.lse);
  }
}

TEST(DecodeAttention, LongContextsInLargerSplits) {
  const AttentionProblem problem({.num_kv_heads = 1, .group = 1, .head_dim = 16, .sequences = {{4100, 1}}});
  ExpectNear(problem, RunPlanned(problem, false));
}

TEST(Attention, LargerBlocks) {
  const AttentionProblem problem({.block_size = 64, .sequences = {{100, 1}, {70, 40}}});
  ExpectNear(problem, RunPlanned(problem, false));
}

TEST(Attention, RowsDoNotDependOnTheOthersOfTheirCall) {
  const AttentionShape together{.sequences = {{0, 17}, {300, 1}, {40, 33}, {20, 1}}};
  const AttentionProblem problem(together);
  const Result whole = RunPlanned(problem, false);
  // Spans taken alone, from the same pool.
  for (const AttentionSpan& span : problem.spans()) {
    const Result alone = RunPlanned(problem, {span}, false);
    const int64_t width = together.num_heads() * together.head_dim;
    for (int64_t i = span.first_row * width; i < (span.first_row + span.num_rows) * width; ++i) {
      ASSERT_EQ(whole.out[i], alone.out[i]) << i;
    }
  }
}

// Prompts cut into chunks, down to single tokens: what a deterministic backend promises.
TEST(PrefillAttention, ChunksGiveTheBitsOfTheWhole) {
  for (const int window : {0, 21}) {
    const AttentionProblem whole({.group = 3, .window = window, .soft_cap = 0.5f, .sequences = {{0, 100}}});
    std::vector<AttentionSpan> chunks;
    for (const auto& [first, end] : {std::pair{0, 1}, {1, 50}, {50, 51}, {51, 64}, {64, 100}}) {
      chunks.push_back({.first_row = first, .num_rows = end - first, .first_position = first});
    }
    const Result want = RunPlanned(whole, true), got = RunPlanned(whole, chunks, true);
    ExpectSameBits(want.out, got.out);
    ExpectSameBits(want.lse, got.lse);
  }
}

TEST(ScalarAttention, MatchesDoublePrecision) {
  for (const Type kv_type : {Type::kF32, Type::kBf16}) {
    for (const auto& [window, soft_cap] : kMasks) {
      const AttentionProblem problem({.type = Type::kF32,
                                      .kv_type = kv_type,
                                      .head_dim = 48,
                                      .window = window,
                                      .soft_cap = soft_cap,
                                      .sequences = {{99, 1}, {37, 20}, {0, 40}}});
      ExpectNear(problem, RunScalar(problem));
      if (HasFailure()) FAIL() << "window " << window << ", soft cap " << soft_cap;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
