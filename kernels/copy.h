// Copies from one element type to another: gradients summed in f32 on their way to a product of bf16, and back.
//
// Bytes moved: n * (BytesOf(from_type) + BytesOf(to_type)).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/types.h"

namespace tandem::kernels {

struct ConvertArgs {
  const void* from = nullptr;  // [n]
  void* to = nullptr;          // [n]
  Type from_type = Type::kF32, to_type = Type::kF32;
  int64_t n = 0;
};

cudaError_t LaunchConvert(const ConvertArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
