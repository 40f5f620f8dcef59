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

// Turns q.k into P and dO.v into s dU, in which the scale of dQ and dK is. `lse` in units of log 2.
__device__ __forceinline__ void ScoreGradient(const ScoreScale& scale, float lse, float delta, bool seen, float& s,
                                              float& dp) {
  float raw = s, slope = scale.scale;
  if (scale.soft_cap > 0) {
    const float tanh = scale.Tanh(s);
    raw = scale.soft_cap * tanh;
    slope *= 1.0f - tanh * tanh;
  }
  s = seen ? Exp2(fmaf(raw, scale.factor, -lse)) : 0.0f;
  dp = s * (dp - delta) * slope;
}

__device__ __forceinline__ bool Sees(int position, int key, int window) {
  return key <= position && (window == 0 || key > position - window);
}

// What P and dS need of a row, in shared memory beside a tile of kRows rows: divisions are done once, by one thread.
template <int kRows>
struct RowTable {
  float lse[kRows];  // in units of log 2
  float delta[kRows];
  int position[kRows];
};
// Row first + threadIdx.x of the table, for the block's first kRows threads. Outside of the window P is 0: it sees
// nothing.
struct RowEntry {
  float lse = kInfinity, delta = 0;
  int position = -1;

  template <int kRows>
  __device__ __forceinline__ void Write(RowTable<kRows>& table) const {
    if (threadIdx.x >= kRows) return;
    table.lse[threadIdx.x] = lse;
    table.delta[threadIdx.x] = delta;
    table.position[threadIdx.x] = position;
  }
};
template <int kRows>
__device__ __forceinline__ RowEntry ReadRow(const AttentionBackwardArgs& args, const Window& window, int kv_head,
                                            int first) {
  const int packed = first + threadIdx.x;
  if (threadIdx.x >= kRows || packed < window.begin || packed >= window.end) return {};
  const int64_t index = PackedIndex(window.span, args.kv, args.group, kv_head, packed);
  return {args.lse[index] * kLog2E, args.delta[index], packed / args.group};
}

}  // namespace tandem::kernels
