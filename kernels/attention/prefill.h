// Paged causal attention over tiles of query rows with an online softmax: FlashAttention-2 (Dao 2023, algorithm 1) on
// mma.sync m16n8k16, with the grouped query heads of a KV head packed into the rows of a tile (kv_layout.h).
//
//   head_dim up to    64      96      128     256     (smaller ones are padded with zeros in shared memory)
//   rows of a CTA     128     128     128     64      4 warps, each 32 (16) whole rows
//   keys of a step    64      48      48      32
//   shared memory     41 KiB  52 KiB  69 KiB  81 KiB  Q, V, twice K: V loads behind Q K^T, the next K behind the step
//   CTAs per SM       2       2       2       2       as registers allow
//
// Flops: 4 * head_dim per (row, head, seen key). Bytes: q and out once, K and V once per tile of rows and KV head,
// mostly from L2. Bound by the tensor cores through mma.sync. Estimate for H100/H200, causal, head_dim 128, 8k: 45 % of
// the 800 TFLOP/s that cuBLAS reaches, by what FlashAttention-2 of the same structure is known for (355 TFLOP/s).
#pragma once

#include "args.h"
#include "work_plan.h"

namespace tandem::kernels {

// Packed rows of a tile: for PlanOptions.
__host__ __device__ __forceinline__ constexpr int PrefillTileRows(int head_dim) {
  return head_dim <= 128 ? 128 : 64;
}

// q, out and the pool in bf16. `tiles`: num_tiles of AttentionPlan::prefill on the device.
cudaError_t LaunchPrefillAttention(const AttentionArgs& args, const RowTile* tiles, int num_tiles, cudaStream_t stream);

// The same for any types (bf16 and f32 rows on a bf16 pool, f32 on f32), on plain f32 arithmetic, decodes included: one
// warp per (row, head) of args.spans[0 .. num_spans), each of at most max_rows rows. For f32 weights: small models and
// tests. A row's bits do not depend on how rows are cut into spans.
cudaError_t LaunchScalarAttention(const AttentionArgs& args, int num_spans, int max_rows, cudaStream_t stream);

}  // namespace tandem::kernels
