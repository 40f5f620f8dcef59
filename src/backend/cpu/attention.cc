// Paged attention, forward and backward, over tiles of query rows. Within a tile the rows of all query heads of a KV
// head stand together, so each block of keys and values is read once for the whole group.
#include <cmath>
#include <cstring>

#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kv_layout.h"
#include "backend/cpu/vector_ops.h"
#include "base/check.h"

namespace tandem {
namespace {

constexpr int kTileTarget = 24;  // rows: a multiple of both register tiles

int TokensPerTile(int group) {
  return std::max(1, kTileTarget / group);
}

int64_t RoundUp(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

// The rows of heads [kv_head * group, + group) as [tokens * group, dim], times `scale`; and back.
void GatherHeads(const float* rows, int64_t row_elements, int tokens, int64_t head_elements, float scale, float* tile) {
  for (int t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < head_elements; ++i) tile[t * head_elements + i] = rows[t * row_elements + i] * scale;
  }
}

void ScatterHeads(const float* tile, int tokens, int64_t head_elements, int64_t row_elements, float* rows) {
  for (int t = 0; t < tokens; ++t) {
    std::memcpy(rows + t * row_elements, tile + t * head_elements, head_elements * sizeof(float));
  }
}

// One tile of work: some tokens of one sequence, for one KV head.
struct TileWork {
  const SequenceRows* sequence;
  int first_token, num_tokens;
  int kv_head;
  int64_t context() const { return sequence->first_position + first_token + num_tokens; }
};

// Scratch of one tile of the forward.
struct ForwardScratch {
  float *q, *out, *lse, *rounded_q, *scores, *rounded_scores;
  ForwardScratch(float* base, int64_t rows, int64_t dim, int64_t context)
      : q(base),
        out(q + rows * dim),
        lse(out + rows * dim),
        rounded_q(lse + RoundUp(rows, 16)),
        scores(rounded_q + rows * dim / 2),
        rounded_scores(scores + rows * RoundUp(context, 16)) {}
  static int64_t Elements(int64_t rows, int64_t dim, int64_t context) {
    return 2 * rows * dim + RoundUp(rows, 16) + rows * dim / 2 + rows * RoundUp(context, 16) * 3 / 2;
  }
};

uint16_t* AsBf16(float* scratch) {
  return reinterpret_cast<uint16_t*>(scratch);
}

}  // namespace

void CpuBackend::Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
                           const AttentionOptions& options, const TensorView& out, const TensorView& lse) {
  const int dim = kv.head_dim;
  const int64_t num_heads = q.shape[1] / dim;
  const int group = static_cast<int>(num_heads / kv.num_kv_heads);
  const int tokens_per_tile = TokensPerTile(group);
  CHECK(dim % 16 == 0 && tokens_per_tile * group <= cpu::kMaxTileRows);

  std::vector<TileWork> work;
  int64_t context = 0;
  for (const SequenceRows& sequence : sequences) {
    for (int t = 0; t < sequence.num_rows; t += tokens_per_tile) {
      const int tokens = std::min(tokens_per_tile, sequence.num_rows - t);
      for (int head = 0; head < kv.num_kv_heads; ++head) work.push_back({&sequence, t, tokens, head});
    }
    context = std::max<int64_t>(context, sequence.first_position + sequence.num_rows);
  }
  const int64_t max_rows = static_cast<int64_t>(tokens_per_tile) * group;
  const int64_t per_thread = RoundUp(ForwardScratch::Elements(max_rows, dim, context), 16);
  float* scratch = Scratch(kScratchAttention, per_thread * pool_.num_threads());

  pool_.For(static_cast<int64_t>(work.size()), [&](int64_t i, int thread) {
    const TileWork& item = work[i];
    const int64_t row = item.sequence->first_row + item.first_token, head_elements = static_cast<int64_t>(group) * dim;
    const ForwardScratch local(scratch + thread * per_thread, max_rows, dim, context);
    GatherHeads(q.f32() + row * num_heads * dim + item.kv_head * head_elements, num_heads * dim, item.num_tokens,
                head_elements, options.scale, local.q);
    cpu::AttentionForwardTile({.kv = &kv,
                               .layout = LayoutOf(kv),
                               .blocks = item.sequence->blocks,
                               .kv_head = item.kv_head,
                               .group = group,
                               .num_tokens = item.num_tokens,
                               .first_position = item.sequence->first_position + item.first_token,
                               .window = options.window,
                               .soft_cap = options.soft_cap,
                               .q = local.q,
                               .scores = local.scores,
                               .score_stride = RoundUp(item.context(), 16),
                               .out = local.out,
                               .lse = local.lse,
                               .rounded_q = AsBf16(local.rounded_q),
                               .rounded_scores = AsBf16(local.rounded_scores)});
    ScatterHeads(local.out, item.num_tokens, head_elements, num_heads * dim,
                 out.f32() + row * num_heads * dim + item.kv_head * head_elements);
    if (lse.data != nullptr) {
      ScatterHeads(local.lse, item.num_tokens, group, num_heads, lse.f32() + row * num_heads + item.kv_head * group);
    }
  });
}

namespace {

// Backward of one KV head over one window, tile after tile from the last row to the first (FlashAttention-2, Dao 2023,
// algorithm 2, with the whole row of scores at hand):
//   P = exp(S - LSE)   dP = dO V^T   dS = P (dP - D)   D = rowsum(dO O)
//   dV += P^T dO       dQ = s dS K   dK += s dS^T Q
// With a soft cap, S = cap tanh(U / cap) and dU = dS (1 - (S / cap)^2) takes the place of dS in the last two.
class HeadBackward {
 public:
  HeadBackward(const AttentionBackwardArgs& args, cpu::KvLayout layout, int kv_head, float* scratch)
      : args_(args),
        layout_(layout),
        dim_(args.kv.head_dim),
        num_heads_(args.q.shape[1] / dim_),
        group_(static_cast<int>(num_heads_ / args.kv.num_kv_heads)),
        kv_head_(kv_head),
        context_(args.first_position + static_cast<int>(args.q.rows())),
        stride_(RoundUp(context_, 16)) {
    const int64_t rows = static_cast<int64_t>(TokensPerTile(group_)) * group_;
    keys_ = scratch;
    values_ = keys_ + stride_ * dim_;
    q_ = values_ + stride_ * dim_;
    out_ = q_ + rows * dim_;
    dout_ = out_ + rows * dim_;
    p_ = dout_ + rows * dim_;
    ds_ = p_ + rows * stride_;
    rounded_q_ = AsBf16(ds_ + rows * stride_);
  }

  static int64_t ScratchElements(int64_t context, int64_t dim, int group) {
    const int64_t rows = static_cast<int64_t>(TokensPerTile(group)) * group;
    return 2 * RoundUp(context, 16) * dim + 3 * rows * dim + 2 * rows * RoundUp(context, 16) + rows * dim / 2;
  }

  void Run() {
    cpu::GatherForBackward(args_.kv, layout_, args_.blocks, kv_head_, context_, keys_, values_);
    const int rows = static_cast<int>(args_.q.rows()), step = TokensPerTile(group_);
    // Tiles end at the window's end, so that a window's sums are taken in the same order however it was cut.
    for (int end = rows; end > 0; end -= step) Tile(std::max(0, end - step), end);
  }

 private:
  void Tile(int first, int end) {
    const int tokens = end - first;
    const int64_t m = static_cast<int64_t>(tokens) * group_, last = m - 1;
    const int64_t head_elements = static_cast<int64_t>(group_) * dim_;
    const int64_t offset = first * num_heads_ * dim_ + kv_head_ * head_elements;
    const int seen = args_.first_position + end;  // positions that the tile's last row sees
    GatherHeads(args_.q.f32() + offset, num_heads_ * dim_, tokens, head_elements, args_.options.scale, q_);
    GatherHeads(args_.out.f32() + offset, num_heads_ * dim_, tokens, head_elements, 1.0f, out_);
    GatherHeads(args_.dout.f32() + offset, num_heads_ * dim_, tokens, head_elements, 1.0f, dout_);

    cpu::AttentionScores({.kv = &args_.kv,
                          .layout = layout_,
                          .blocks = args_.blocks,
                          .kv_head = kv_head_,
                          .group = group_,
                          .num_tokens = tokens,
                          .first_position = args_.first_position + first,
                          .window = args_.options.window,
                          .soft_cap = args_.options.soft_cap,
                          .q = q_,
                          .scores = p_,
                          .score_stride = stride_,
                          .rounded_q = rounded_q_});
    cpu::Gemm({.m = m, .n = RoundUp(seen, 16), .k = dim_}, {.data = dout_, .row_stride = dim_},
              {.data = values_, .k_stride = 16, .panel_stride = dim_ * 16}, {.data = ds_, .row_stride = stride_},
              false);
    // Whole blocks before the window of the tile's first row are nobody's.
    const int64_t begin = cpu::FirstSeen(args_.first_position + first, args_.options.window) / 16 * 16;
    for (int64_t row = 0; row < m; ++row) ScoreGradient(first, row, static_cast<int>(begin), seen);

    // q_ already carries the scale s, so dK += dS^T (s Q).
    const int64_t kv_row = static_cast<int64_t>(args_.kv.num_kv_heads) * dim_;
    const int64_t kv_offset = begin * kv_row + kv_head_ * dim_, at = last * stride_ + begin;
    const cpu::GemmC dk{.data = args_.dk.f32() + kv_offset, .row_stride = kv_row};
    const cpu::GemmC dv{.data = args_.dv.f32() + kv_offset, .row_stride = kv_row};
    const cpu::GemmShape into_kv = {.m = seen - begin, .n = dim_, .k = m};
    cpu::Gemm(into_kv, {.data = ds_ + at, .row_stride = 1, .k_stride = -stride_},
              {.data = q_ + last * dim_, .k_stride = -dim_, .panel_stride = 16}, dk, true);
    cpu::Gemm(into_kv, {.data = p_ + at, .row_stride = 1, .k_stride = -stride_},
              {.data = dout_ + last * dim_, .k_stride = -dim_, .panel_stride = 16}, dv, true);

    // dQ = s dS K; out_ is free by now.
    cpu::Gemm({.m = m, .n = dim_, .k = seen - begin}, {.data = ds_ + begin, .row_stride = stride_},
              {.data = keys_ + begin * dim_, .k_stride = dim_, .panel_stride = 16}, {.data = out_, .row_stride = dim_},
              false);
    for (int64_t i = 0; i < m * dim_; ++i) out_[i] *= args_.options.scale;
    ScatterHeads(out_, tokens, head_elements, num_heads_ * dim_, args_.dq.f32() + offset);
  }

  // Scores to P and dP to dS (dU), in place, for one row of the tile; what the row does not see becomes 0.
  void ScoreGradient(int first, int64_t row, int begin, int seen) {
    const int64_t token = first + row / group_, head = kv_head_ * group_ + row % group_;
    const int visible = args_.first_position + static_cast<int>(token) + 1;
    const int first_seen = cpu::FirstSeen(visible - 1, args_.options.window), count = visible - first_seen;
    float *p = p_ + row * stride_ + first_seen, *ds = ds_ + row * stride_ + first_seen;
    const float d = cpu::Dot(out_ + row * dim_, dout_ + row * dim_, dim_), cap = args_.options.soft_cap;
    for (int j = 0; j < count; ++j) ds[j] -= d;
    if (cap > 0) {
      cpu::SoftCap(cap, count, p);
      for (int j = 0; j < count; ++j) ds[j] *= 1.0f - (p[j] / cap) * (p[j] / cap);
    }
    cpu::ExpShifted(args_.lse.f32()[token * num_heads_ + head], count, p);
    for (int j = 0; j < count; ++j) ds[j] *= p[j];
    for (float* values : {p_, ds_}) {
      float* of_row = values + row * stride_;
      std::fill(of_row + begin, of_row + first_seen, 0.0f);
      std::fill(of_row + visible, of_row + seen, 0.0f);
    }
  }

  const AttentionBackwardArgs& args_;
  const cpu::KvLayout layout_;
  const int64_t dim_, num_heads_;
  const int group_, kv_head_, context_;
  const int64_t stride_;
  float *keys_, *values_, *q_, *out_, *dout_, *p_, *ds_;
  uint16_t* rounded_q_;
};

}  // namespace

void CpuBackend::AttentionBackward(const AttentionBackwardArgs& args) {
  const int dim = args.kv.head_dim;
  const int group = static_cast<int>(args.q.shape[1] / dim / args.kv.num_kv_heads);
  const int64_t context = args.first_position + args.q.rows();
  const int64_t per_thread = RoundUp(HeadBackward::ScratchElements(context, dim, group), 16);
  float* scratch = Scratch(kScratchAttention, per_thread * pool_.num_threads());
  pool_.For(args.kv.num_kv_heads, [&](int64_t head, int thread) {
    HeadBackward(args, LayoutOf(args.kv), static_cast<int>(head), scratch + thread * per_thread).Run();
  });
}

}  // namespace tandem
