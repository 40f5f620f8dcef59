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

// Of rows [first, first + kRows): lse in units of log 2, and delta. Outside of the window lse is infinity: P = 0.
template <int kRows, int kThreads>
__device__ __forceinline__ void ReadRowScalars(const AttentionBackwardArgs& args, const Window& window, int kv_head,
                                               int first, float* lse, float* delta) {
  for (int i = threadIdx.x; i < kRows; i += kThreads) {
    const int packed = first + i;
    const bool there = packed >= window.begin && packed < window.end;
    const int64_t index = there ? PackedIndex(window.span, args.kv, args.group, kv_head, packed) : 0;
    lse[i] = there ? args.lse[index] * kLog2E : kInfinity;
    delta[i] = there ? args.delta[index] : 0.0f;
  }
}

}  // namespace tandem::kernels
