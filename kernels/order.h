// Floats as unsigned numbers of the same order, for searches by halving and for maxima that bring their place along.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace tandem::kernels {

// Rises with x; equal for 0 and -0. A NaN lies beyond the infinities or before them, by its sign.
__host__ __device__ __forceinline__ uint32_t OrderOf(float x) {
  x += 0.0f;  // -0 becomes 0
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__host__ __device__ __forceinline__ float FromOrder(uint32_t order) {
  const uint32_t bits = order & 0x80000000u ? order & 0x7fffffffu : ~order;
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// The larger x, of equals the lower index, gives the larger number. Never 0, which may stand for "none".
__host__ __device__ __forceinline__ uint64_t BestOrder(float x, uint32_t index) {
  return static_cast<uint64_t>(OrderOf(x)) << 32 | (~index & 0xffffffffu);
}
__host__ __device__ __forceinline__ uint32_t IndexOfBest(uint64_t best) {
  return ~static_cast<uint32_t>(best);
}

}  // namespace tandem::kernels
