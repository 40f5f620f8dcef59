// The two products of a LoRA bypass, for all segments of a batch in one launch each: down to the rank and up again.
// With the matrices' roles exchanged they are those of its backward.
//
// Bytes moved, s = BytesOf(type): Shrink rows * width * s, s * rank * width for every item, and 4 slices * rows * rank
// of u; Expand 2 s * rows * width and the same of the other two. Estimates, not measured: with an adapter for each row,
// 70 % of the rate at which the adapters' bytes can be read; with large segments 70 % of the copy rate.
#pragma once

#include "plan.h"

namespace tandem::kernels {

struct LoraShrinkArgs {
  LoraWork work;               // u is written
  LoraPair by = LoraPair::kA;  // kA: u = x A^T, width in; kB: u = x B, width out
  const void* x = nullptr;     // [rows, width]
  int64_t width = 0;
};
cudaError_t LaunchLoraShrink(const LoraShrinkArgs& args, cudaStream_t stream);

struct LoraExpandArgs {
  LoraWork work;
  LoraPair by = LoraPair::kB;  // kB: y += scale * u B^T, width out; kA: y += scale * u A, width in
  void* y = nullptr;           // [rows, width]
  int64_t width = 0;
};
cudaError_t LaunchLoraExpand(const LoraExpandArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
