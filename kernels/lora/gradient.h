// The gradients of A and B: both are sums over rows of an outer product, u (or du) with dy (or x).
//
// f32: from the last row to the first, one thread to an element, as the CPU backend does: splitting rows into calls,
// last part first, changes no bit. bf16: eight contiguous parts of the rows by tensor cores, added up in fixed order;
// no atomics, but a split changes roundings. Bytes moved: s * rows * width, 8 * rank * width of the gradient, and u
// again for each 64 columns. Estimate, not measured: 60 to 70 % of the copy rate from 1024 rows on.
#pragma once

#include "plan.h"

namespace tandem::kernels {

__host__ __device__ constexpr int64_t LoraPaddedRows(int64_t rows) {
  return (rows + 15) / 16 * 16;
}

// Of one segment that has all rows.
struct LoraGradientArgs {
  LoraWork work;               // u, as shrunk
  LoraPair of = LoraPair::kA;  // kA: gradient [rank, width] += scale u^T z; kB: gradient [width, rank] += scale z^T u
  const void* z = nullptr;     // [rows, width]
  int64_t width = 0;
  int rank = 0;
  float scale = 0;
  bf16* transposed = nullptr;  // [RankStride(rank), LoraPaddedRows(rows)] scratch where LoraUsesMma
  float* gradient = nullptr;   // added to
};
cudaError_t LaunchLoraGradient(const LoraGradientArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
