// Backward of attention over one window of one sequence: rows [a, b) against keys and values [0, b) of the paged pool
// (FlashAttention-2, Dao 2023, algorithm 2, in two kernels instead of atomics):
//
//   P = exp(S - LSE)   dP = dO V^T   dS = P (dP - D)   D = rowsum(dO O)
//   dV += P^T dO       dQ = s dS K   dK += s dS^T Q
//
// With a soft cap S = cap tanh(U / cap), and dU = dS (1 - (S / cap)^2) takes the place of dS in the last two.
//
//   delta   D: one warp per (row, head)
//   dk/dv   a CTA owns (tile of keys, KV head), keeps its dK and dV in registers, starting from what is there already,
//           and takes the packed query rows (kv_layout.h) from the last to the first. S^T and dP^T come out of the MMA
//           as the next one's A operand, so P and dS never leave registers
//   dq      a CTA owns (tile of packed rows, KV head) and takes the keys in order
//
//   head_dim up to          64       96       128      256
//   dk/dv: keys of a CTA    128      128      128      64 (one kernel for dV, one for dK)
//   dk/dv: rows of a step   64       64       64       32
//   dk/dv: shared memory    64 KiB   96 KiB   128 KiB  128 KiB
//   dq: rows of a CTA       128      128      128      64
//   dq: keys of a step      32       32       32       32
//   dq: shared memory       48 KiB   72 KiB   96 KiB   128 KiB
//
// No atomics: the bits depend on nothing but the arguments. Query tiles lie at absolute positions and sums continue
// from the accumulators, so windows cut at multiples of a tile give the bits of the whole.
//
// Flops: 7 products of 2 * head_dim per (row, head, seen key), 5 of them counted as useful. Bytes: everything about
// once, then L2. Bound by shared memory's bandwidth into mma.sync (1.6 MMAs per ldmatrix.x4 in dk/dv, 2.4 in dq).
// Estimate for H100/H200, causal, head_dim 128, 8k: 200 useful TFLOP/s, 25 % of what cuBLAS reaches.
#pragma once

#include "kv_layout.h"

namespace tandem::kernels {

struct AttentionBackwardArgs {
  const void* q = nullptr;  // [num_rows, num_heads * head_dim], as are out, dout and dq
  const void* out = nullptr;
  const void* dout = nullptr;
  void* dq = nullptr;          // written
  Type type = Type::kF32;      // of these four. bf16 wants a bf16 pool
  const float* lse = nullptr;  // [num_rows, num_heads]
  float* delta = nullptr;      // [num_rows, num_heads], scratch
  float* dk = nullptr;         // [>= first_position + num_rows, num_kv_heads * head_dim], added to; dv as well
  float* dv = nullptr;
  KvPool kv;
  const int32_t* blocks = nullptr;  // on the device: the sequence's block table
  int num_rows = 0, first_position = 0;
  int group = 1;  // query heads per KV head
  float scale = 1, soft_cap = 0;
  int window = 0;
};

cudaError_t LaunchAttentionBackward(const AttentionBackwardArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
