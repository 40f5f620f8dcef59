// AdamW (Loshchilov and Hutter 2019) in the order of torch.optim.AdamW, and the clipping before it, over all tensors of
// a job at once: an adapter is hundreds of small ones.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

struct TrainedTensor {
  float *value = nullptr, *gradient = nullptr, *m = nullptr, *v = nullptr;  // [n]
  int64_t n = 0;
};

// A block's work: elements [part * kPartElements, ...) of a tensor.
struct TensorPart {
  int tensor = 0, part = 0;
};
inline constexpr int64_t kPartElements = 1 << 14;

struct TrainedTensors {
  const TrainedTensor* tensors = nullptr;  // device
  const TensorPart* parts = nullptr;       // [num_parts] device: all parts of all tensors
  int num_parts = 0;
};

struct ClipArgs {
  TrainedTensors of;                 // their gradients are read
  double divisor = 1, max_norm = 0;  // of the norm after the division; 0: any
  double* partial = nullptr;         // [num_parts] scratch
  double* norm = nullptr;            // [1]: of all gradients together / divisor
  float* scale = nullptr;            // [1]: 1 / divisor, less where the norm is above max_norm; a NaN where it is none
};
// Two passes without atomics: each block sums a part in f64, one block adds the parts up. The result depends on sizes
// and values alone. Moves 4 bytes an element.
cudaError_t LaunchClip(const ClipArgs& args, cudaStream_t stream);

// The numbers of a step as the CPU backend rounds them to f32 before the loop over elements.
struct AdamWNumbers {
  float decay = 1;  // 1 - learning_rate * weight_decay
  float beta1 = 0, rest1 = 0, beta2 = 0, rest2 = 0;
  float step_size = 0;  // learning_rate / (1 - beta1^step)
  float root2 = 1;      // sqrt(1 - beta2^step)
  float epsilon = 0;
};

struct AdamWArgs {
  TrainedTensors of;  // value, m, v are changed, gradients zeroed
  AdamWNumbers numbers;
  const float* scale = nullptr;  // [1]: multiplies the gradients; where it is a NaN nothing changes
};
// Moves 32 bytes an element. Products and sums are rounded one by one, as on the CPU: the same bits. Estimate, not
// measured: 85 % of the copy rate; an adapter of 42 M parameters is 1.3 GB, about 0.4 ms.
cudaError_t LaunchAdamW(const AdamWArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
