// AdamW (Loshchilov and Hutter 2019) in the order of torch.optim.AdamW, and the sum of squares for clipping.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

// The numbers of a step as the CPU backend rounds them to f32 before the loop over elements.
struct AdamWNumbers {
  float decay = 1;  // 1 - learning_rate * weight_decay
  float beta1 = 0, rest1 = 0, beta2 = 0, rest2 = 0;
  float step_size = 0;  // learning_rate / (1 - beta1^step)
  float root2 = 1;      // sqrt(1 - beta2^step)
  float epsilon = 0, gradient_scale = 1;
};

struct AdamWArgs {
  float* parameter = nullptr;        // [n]
  const float* gradient = nullptr;   // [n]
  float *m = nullptr, *v = nullptr;  // [n]
  int64_t n = 0;
  AdamWNumbers numbers;
};
// Moves 28 n bytes. Products and sums are rounded one by one, as on the CPU: the same bits. Estimate, not measured: 85
// % of the copy rate; a LoRA adapter of 42 M parameters is 1.2 GB, about 0.3 ms.
cudaError_t LaunchAdamW(const AdamWArgs& args, cudaStream_t stream);

// Two passes without atomics: each block sums kSquaresPerBlock elements in f64, one block adds the partial sums up. The
// result depends on n and the values alone. Moves 4 n bytes.
inline constexpr int64_t kSquaresPerBlock = 1 << 15;
__host__ __device__ constexpr int64_t NumSquareBlocks(int64_t n) {
  return (n + kSquaresPerBlock - 1) / kSquaresPerBlock;
}
struct SumOfSquaresArgs {
  const float* x = nullptr;  // [n]
  int64_t n = 0;
  double* partial = nullptr;  // [NumSquareBlocks(n)] scratch
  double* sum = nullptr;      // [1]
};
cudaError_t LaunchSumOfSquares(const SumOfSquaresArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
