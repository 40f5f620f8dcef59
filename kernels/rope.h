// Rotary position embedding (Su et al. 2021) in the half-split form: pairs (i, i + head_dim / 2) of every head are
// turned by the angle of the row's position; backward turns them back.
//
// One pass, bound by memory: reads and writes rows * heads * head_dim elements, and `table` once per row (512 bytes at
// head_dim 128, from L2 after the first head). 3 flops per element. Estimate: >= 85 % of copy bandwidth on large
// batches.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/types.h"

namespace tandem::kernels {

struct RopeArgs {
  void* x = nullptr;  // [num_rows, num_heads * head_dim], in place
  Type type = Type::kF32;
  const float* table = nullptr;        // [positions, head_dim]: cos in the first half of a row, sin in the second
  const int32_t* positions = nullptr;  // [num_rows]; a row whose position is negative stays as it is
  int num_rows = 0, num_heads = 0;
  int head_dim = 0;      // even
  bool inverse = false;  // turn back: the gradient
};

cudaError_t LaunchRope(const RopeArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
