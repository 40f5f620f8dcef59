// The activation of a bottleneck, between the two products of forward.h: u, summed over its slices, becomes f(u) in one
// slice; and its gradient. Segments without one pass as they are. Bytes moved: 4 * (slices + 1) * rows * rank of each.
#pragma once

#include "plan.h"

namespace tandem::kernels {

struct LoraActivateArgs {
  LoraWork work;       // u is read
  float* v = nullptr;  // [rows, RankStride(max_rank)] f(u), written
  // Backward: the gradient of v, in slices as u is; becomes dv = f'(u) * du. Null: forward.
  const float* du = nullptr;
  int du_slices = 0;
  float* dv = nullptr;  // as v
};
cudaError_t LaunchLoraActivate(const LoraActivateArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
