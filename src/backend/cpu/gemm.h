// The one product of the CPU backend: C (+)= A B with strides, single-threaded, vectorised over the columns of B.
//
// Each C[m, n] is one chain of fused multiply-adds over k = 0, 1, 2 ...: it depends, bit for bit, on neither M, N nor
// the blocking, and continuing a sum in a second call equals one call over both ranges. Negative strides run a sum
// backwards. The instruction set is chosen at run time (Highway).
#pragma once

#include <cstdint>

#include "tandem/tensor.h"

namespace tandem::cpu {

struct GemmA {  // A(m, k) = data[m * row_stride + k * k_stride]
  const float* data = nullptr;
  int64_t row_stride = 0, k_stride = 1;
};

struct GemmB {                 // B(k, n) = data[(n / 16) * panel_stride + k * k_stride + n % 16]
  const void* data = nullptr;  // f32 or bf16
  DType dtype = DType::kF32;
  int64_t k_stride = 0, panel_stride = 0;
};

struct GemmC {  // C(m, n) = data[m * row_stride + n]
  float* data = nullptr;
  int64_t row_stride = 0;
};

struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
};

// B must be readable up to the end of its last panel of 16, even where n is not a multiple of 16.
// accumulate: the chains start from C instead of from 0.
void Gemm(const GemmShape& shape, const GemmA& a, const GemmB& b, const GemmC& c, bool accumulate);

// "avx2", "avx3" ...: what Gemm runs on here.
const char* InstructionSet();

}  // namespace tandem::cpu
