// The parts of attention's backward (backward.h) on plain f32 arithmetic: D for all types, and everything for f32 rows.
#pragma once

#include "backward.h"

namespace tandem::kernels {

// delta = rowsum(dout * out). Bytes: out and dout once.
cudaError_t LaunchAttentionDelta(const AttentionBackwardArgs& args, cudaStream_t stream);

// dq, dk and dv of f32 rows on a pool of f32 or bf16: a warp per (position, KV head), and one per (row, head). Sums
// over rows continue in dk and dv from the last row to the first, so cutting a window into windows changes no bit.
cudaError_t LaunchScalarAttentionBackward(const AttentionBackwardArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
