// What the two MMA kernels of attention's backward (backward.h) share.
#pragma once

#include "backward.h"
#include "tile.h"

namespace tandem::kernels {

// dk and dv of all keys, and dq of all rows: bf16 rows on a bf16 pool, after LaunchAttentionDelta.
cudaError_t LaunchBackwardKeys(const AttentionBackwardArgs& args, cudaStream_t stream);
cudaError_t LaunchBackwardQueries(const AttentionBackwardArgs& args, cudaStream_t stream);

// Packed rows are numbered from position 0 here, so that tiles of them lie at absolute positions: the window's are
// [begin, end).
struct Window {
  AttentionSpan span;  // row 0 of the tensors is the window's first
  int begin, end;
  __device__ __forceinline__ explicit Window(const AttentionBackwardArgs& args)
      : span{.first_row = -args.first_position, .num_rows = args.num_rows, .first_position = 0},
        begin(args.first_position * args.group),
        end((args.first_position + args.num_rows) * args.group) {}
};

// P and dU of one score. `s` is q.k, `dp` dO.v; `lse` in units of log 2.
struct ScoreGradient {
  float scale, soft_cap;
  __device__ __forceinline__ void operator()(float lse, float delta, bool seen, float& s, float& dp) const {
    float through_cap = scale;
    float score = s * scale;
    if (soft_cap > 0) {
      const float tanh = Tanh(score / soft_cap);
      score = soft_cap * tanh;
      through_cap = scale * (1.0f - tanh * tanh);
    }
    s = seen ? Exp2(fmaf(score, kLog2E, -lse)) : 0.0f;
    dp = s * (dp - delta) * through_cap;  // s dU: the scale of dQ and dK is in it
  }
};

__device__ __forceinline__ bool Sees(int position, int key, int window) {
  return key <= position && (window == 0 || key > position - window);
}

// Of row first + threadIdx.x, for the block's first kRows threads. Outside of the window lse is infinity: P = 0.
struct RowScalars {
  float lse, delta;  // lse in units of log 2
  // To lse[kRows], delta[kRows].
  template <int kRows>
  __device__ __forceinline__ void Write(float* to) const {
    if (threadIdx.x >= kRows) return;
    to[threadIdx.x] = lse;
    to[kRows + threadIdx.x] = delta;
  }
};
template <int kRows>
__device__ __forceinline__ RowScalars ReadRowScalars(const AttentionBackwardArgs& args, const Window& window,
                                                     int kv_head, int first) {
  const int packed = first + threadIdx.x;
  if (threadIdx.x >= kRows || packed < window.begin || packed >= window.end) return {kInfinity, 0.0f};
  const int64_t index = PackedIndex(window.span, args.kv, args.group, kv_head, packed);
  return {args.lse[index] * kLog2E, args.delta[index]};
}

}  // namespace tandem::kernels
