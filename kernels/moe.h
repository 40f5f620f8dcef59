// Routed experts: each row's top_k experts and their shares, the gradient of that choice, and what moves weighted rows.
// Row by row: a row's result does not depend on the others.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

inline constexpr int kMaxExperts = 1024;

struct RouteArgs {
  const float* logits = nullptr;  // [rows, num_experts]
  int64_t rows = 0;
  int num_experts = 0, top_k = 0;  // top_k <= num_experts <= kMaxExperts
  bool normalize = true;           // the weights of a row sum to 1; else they are its softmax's
  int32_t* experts = nullptr;      // [rows, top_k], rising; of equal logits the lower number
  float* weights = nullptr;        // [rows, top_k]
};
// A warp to a row, which it holds in registers; top_k rounds of a warp-wide maximum.
cudaError_t LaunchRoute(const RouteArgs& args, cudaStream_t stream);

struct RouteBackwardArgs {
  const float* logits = nullptr;  // [rows, num_experts]
  int64_t rows = 0;
  int num_experts = 0, top_k = 0;
  bool normalize = true;
  const int32_t* experts = nullptr;  // [rows, top_k] as forward chose
  const float* dweights = nullptr;   // [rows, top_k]
  float* dlogits = nullptr;          // [rows, num_experts], written
};
cudaError_t LaunchRouteBackward(const RouteBackwardArgs& args, cudaStream_t stream);

struct ScatterAddRowsArgs {
  Type type = Type::kF32;
  const void* x = nullptr;           // [rows, columns]
  const int32_t* numbers = nullptr;  // [rows], distinct
  const float* factors = nullptr;    // [rows]
  void* y = nullptr;                 // y[numbers[i]] += factors[i] * x[i]
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchScatterAddRows(const ScatterAddRowsArgs& args, cudaStream_t stream);

struct ScaleRowsArgs {
  Type type = Type::kF32;
  const float* factors = nullptr;  // [rows]
  void* x = nullptr;               // [rows, columns]: x[i] *= factors[i]
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchScaleRows(const ScaleRowsArgs& args, cudaStream_t stream);

struct RowDotsArgs {
  Type type = Type::kF32;
  const void *x = nullptr, *y = nullptr;  // [rows, columns]
  float* dots = nullptr;                  // [rows]
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchRowDots(const RowDotsArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
