// The activations of the MLP and element-wise sums, forward and backward, in f32 arithmetic.
//
// Bytes moved, with s = BytesOf(type), n elements: Activate 2 s n, its backward 3 s n; ActivateMul 3 s n, its backward
// 5 s n; Add 3 s n; Scale, SoftCap and AddBias 2 s n. Estimate, not measured: 85 to 90 % of the copy rate.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

enum class Activation { kSilu, kGeluTanh, kGelu, kRelu };  // kGelu: by erf; kGeluTanh: its approximation

struct ActivateArgs {
  Activation activation = Activation::kSilu;
  Type type = Type::kF32;
  int64_t n = 0;
  const void* x = nullptr;   // [n]
  const void* up = nullptr;  // [n]; null: not gated
  void* y = nullptr;         // [n] activation(x), times up where that is there; may be x or up
};
cudaError_t LaunchActivate(const ActivateArgs& args, cudaStream_t stream);

struct ActivateBackwardArgs {
  Activation activation = Activation::kSilu;
  Type type = Type::kF32;
  int64_t n = 0;
  const void *x = nullptr, *up = nullptr, *dy = nullptr;  // [n]; up as forward
  void *dx = nullptr, *dup = nullptr;                     // [n], written; may be the inputs
};
cudaError_t LaunchActivateBackward(const ActivateBackwardArgs& args, cudaStream_t stream);

// y [n] += x [n]
cudaError_t LaunchAdd(Type type, const void* x, void* y, int64_t n, cudaStream_t stream);
// x [n] *= factor
cudaError_t LaunchScale(Type type, float factor, void* x, int64_t n, cudaStream_t stream);
// x [n] = cap * tanh(x / cap)
cudaError_t LaunchSoftCap(Type type, float cap, void* x, int64_t n, cudaStream_t stream);

struct AddBiasArgs {
  Type type = Type::kF32;       // of y
  const float* bias = nullptr;  // [columns]
  void* y = nullptr;            // [rows, columns], every row += bias
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchAddBias(const AddBiasArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
