// Element types of what kernels read and write, and the conversions between them. Arithmetic is always f32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

using bf16 = __nv_bfloat16;

// What a launcher is told about a pointer; it switches on this once and calls a template.
enum class Type { kF32, kBf16 };

__host__ __device__ __forceinline__ constexpr int BytesOf(Type type) {
  return type == Type::kF32 ? 4 : 2;
}

template <typename T>
inline constexpr Type kTypeOf = Type::kF32;
template <>
inline constexpr Type kTypeOf<bf16> = Type::kBf16;

__host__ __device__ __forceinline__ float ToFloat(float value) {
  return value;
}
__host__ __device__ __forceinline__ float ToFloat(bf16 value) {
  return __bfloat162float(value);
}

// Rounds to nearest, ties to even.
template <typename T>
__host__ __device__ __forceinline__ T FromFloat(float value) {
  if constexpr (kTypeOf<T> == Type::kBf16) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

// What follows is for device code: hosts read this header too.
#if defined(__CUDACC__) || defined(TANDEM_CUDA_EMULATION)
// Two bf16 in one register, the lower half first: how mma and ldmatrix hold them.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<uint32_t>(__bfloat16_as_ushort(pair.x)) | static_cast<uint32_t>(__bfloat16_as_ushort(pair.y))
                                                                   << 16;
}
// A bf16 is the upper half of the f32 with the same value.
__device__ __forceinline__ float LowBf16(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float HighBf16(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}
#endif

template <typename T>
__host__ __device__ __forceinline__ constexpr T CeilDiv(T value, T divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace tandem::kernels
