// Routed experts: each row's top_k experts and their shares, the gradient of that choice, the choices expert by expert,
// and what moves weighted rows. Choice c = row * top_k + i is the i-th of its row. A row's result does not depend on
// the others, but for where its choices stand in the order.
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

struct SortChoicesArgs {
  const int32_t* experts = nullptr;  // [choices]
  int choices = 0, num_experts = 0;
  int32_t* order = nullptr;   // [choices]: choices by expert, those of one expert rising
  int32_t* places = nullptr;  // [choices]: where a choice stands in `order`
  int32_t* ends = nullptr;    // [num_experts]: where those of an expert end in `order`
};
// A block to an expert, which counts what comes before its own: no atomics, one order. Reads 8 choices num_experts
// bytes, from L2: 16 MB for 2048 rows that choose 8 of 128.
cudaError_t LaunchSortChoices(const SortChoicesArgs& args, cudaStream_t stream);

struct CombineChoicesArgs {
  Type type = Type::kF32;
  const void* x = nullptr;          // [rows * top_k, columns] in `order`
  const int32_t* places = nullptr;  // [rows, top_k]
  const float* factors = nullptr;   // [rows, top_k]; null: 1
  void* y = nullptr;                // [rows, columns] += factors[row, i] * x[places[row, i]], i rising
  int64_t rows = 0, columns = 0;
  int top_k = 0;
};
// Moves s (top_k + 2) rows columns bytes.
cudaError_t LaunchCombineChoices(const CombineChoicesArgs& args, cudaStream_t stream);

struct WeighChoicesBackwardArgs {
  Type type = Type::kF32;
  const void* x = nullptr;         // [rows, columns] in `order`
  const int32_t* order = nullptr;  // [rows]
  const float* weights = nullptr;  // by choice
  void* dx = nullptr;              // [rows, columns]: *= the choice's weight
  float* dweights = nullptr;       // by choice: dx . x, before that
  int64_t rows = 0, columns = 0;
};
// One pass of 3 s rows columns bytes.
cudaError_t LaunchWeighChoicesBackward(const WeighChoicesBackwardArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
