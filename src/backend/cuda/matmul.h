// Products by cuBLASLt: out[m, n] (+)= a[m, k] b, with b as [n, k] (a forward's weight) or as [k, n]. Sums are f32, and
// f32 operands are multiplied as f32, not as tf32.
//
// The algorithm is the library's choice for a bucket of m, asked for once for each (bucket, n, k, types, layout).
// Deterministic: once for all m, and without split-k. A tile then takes all of k in one order wherever a row stands in
// it, which is why a row's bits should not depend on m. NVIDIA promises that only for equal shapes; tools/gpu/check
// measures it.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "backend/cuda/runtime.h"
#include "tandem/tensor.h"

namespace tandem::cuda {

struct MatmulArgs {
  const void* a = nullptr;       // [m, k]
  const void* b = nullptr;       // [n, k] where transposed, else [k, n]
  void* out = nullptr;           // [m, n]
  DType type = DType::kF32;      // of a and b: f32 or bf16
  DType out_type = DType::kF32;  // f32, or as a
  int64_t m = 0, n = 0, k = 0;
  bool transposed = true;
  bool accumulate = false;  // out += the product
};

// m rounded up to the top of its bucket: 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, ...
int64_t MatmulBucket(int64_t m);

// Step thread only.
class Matmul {
 public:
  Matmul(Runtime& runtime, bool deterministic);
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul();

  // Within an operation. Rows of a and of out start at multiples of their width from an address that Allocate gave.
  void Run(const MatmulArgs& args);

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, DType, DType, bool>;  // m, n, k, types, transposed
  cublasStatus_t Choose(const MatmulArgs& args, int64_t m, cublasLtMatmulAlgo_t& algorithm);
  // With the algorithm for `bucket` rows.
  cublasStatus_t MultiplyAs(const MatmulArgs& args, int64_t bucket, void* workspace, cudaStream_t stream);
  cublasStatus_t Multiply(const MatmulArgs& args, void* workspace, cudaStream_t stream);

  Runtime& runtime_;
  const bool deterministic_;
  cublasLtHandle_t handle_ = nullptr;
  cublasStatus_t created_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace tandem::cuda
