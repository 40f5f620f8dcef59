// Products by cuBLASLt: out[m, n] (+)= a[m, k] b, with b as [n, k] (transposed: a forward's weight) or [k, n]. f32
// sums; f32 operands are multiplied as f32, not tf32.
//
// The algorithm is chosen once for each (n, k, types, layout, bucket of m) by the library's heuristic, with m at the
// top of its bucket. Deterministic: one bucket, so one algorithm, for all m up to 512, and cuBLASLt is given m padded
// to the bucket only where the algorithm could look at it: see matmul.cc.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "absl/status/statusor.h"
#include "backend/cuda/runtime.h"
#include "tandem/tensor.h"

namespace tandem::cuda {

struct MatmulArgs {
  const void* a = nullptr;   // [m, k]
  const void* b = nullptr;   // [n, k] where transposed, else [k, n]
  void* out = nullptr;       // [m, n]
  DType type = DType::kF32;  // of a and b
  DType out_type = DType::kF32;
  int64_t m = 0, n = 0, k = 0;
  bool transposed = true;
  bool accumulate = false;  // out += the product
};

// Step thread only.
class Matmul {
 public:
  Matmul(Runtime& runtime, bool deterministic);
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul();

  void Run(const MatmulArgs& args);

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, DType, DType, bool, bool>;  // bucket, n, k, types, flags
  struct Plan;
  const Plan* PlanFor(const MatmulArgs& args);

  Runtime& runtime_;
  const bool deterministic_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace tandem::cuda
