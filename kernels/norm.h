// RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016) of rows, forward and backward. Sums are f32 for bf16
// rows and f64 for f32 rows. A row's result does not depend on the other rows.
//
// Bytes moved, with s = BytesOf(type): forward 2 s rows columns, 3 s where it accumulates; backward 3 s and 4 s. A row
// is read from memory once: its later passes hit the L1 cache (a block holds one row of up to 16384 bf16, 32 KiB).
// Estimate, not measured: 80 to 90 % of the copy rate from about 2^20 elements on.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

struct NormArgs {
  Type type = Type::kF32;         // of x and y
  const void* x = nullptr;        // [rows, columns]
  const float* weight = nullptr;  // [columns]
  const float* bias = nullptr;    // [columns], LayerNorm's
  void* y = nullptr;              // [rows, columns]; may be x where it does not accumulate
  bool accumulate = false;        // y += the norm
  int64_t rows = 0, columns = 0;  // heads of a row are rows of their own: [rows * heads, head_dim]
  float epsilon = 0;
};

// y = x / sqrt(mean(x^2) + epsilon) * weight
cudaError_t LaunchRmsNorm(const NormArgs& args, cudaStream_t stream);
// y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
cudaError_t LaunchLayerNorm(const NormArgs& args, cudaStream_t stream);

struct NormBackwardArgs {
  Type type = Type::kF32;         // of x, dy and dx
  const void* x = nullptr;        // [rows, columns]
  const float* weight = nullptr;  // [columns]
  const void* dy = nullptr;       // [rows, columns]
  void* dx = nullptr;             // [rows, columns]; may be dy where it does not accumulate
  bool accumulate = false;        // dx += the gradient
  int64_t rows = 0, columns = 0;
  float epsilon = 0;
};

cudaError_t LaunchRmsNormBackward(const NormBackwardArgs& args, cudaStream_t stream);
cudaError_t LaunchLayerNormBackward(const NormBackwardArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
