// CUDA's words for C++: qualifiers, built-in vectors and the numbers of the running thread.
#pragma once

#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
// One copy for the block that runs, which has the thread to itself. thread_local is how block.cc tells these variables
// from other statics when it poisons them.
#define __shared__ static thread_local

#define TANDEM_EMULATED_VECTOR2(name, type) \
  struct alignas(2 * sizeof(type)) name {   \
    type x, y;                              \
  };                                        \
  inline name make_##name(type x, type y) { \
    return {x, y};                          \
  }
#define TANDEM_EMULATED_VECTOR4(name, type)                 \
  struct alignas(16) name {                                 \
    type x, y, z, w;                                        \
  };                                                        \
  inline name make_##name(type x, type y, type z, type w) { \
    return {x, y, z, w};                                    \
  }
TANDEM_EMULATED_VECTOR2(float2, float)
TANDEM_EMULATED_VECTOR2(double2, double)
TANDEM_EMULATED_VECTOR2(int2, int)
TANDEM_EMULATED_VECTOR2(uint2, unsigned)
TANDEM_EMULATED_VECTOR2(ulonglong2, unsigned long long)
TANDEM_EMULATED_VECTOR4(float4, float)
TANDEM_EMULATED_VECTOR4(int4, int)
TANDEM_EMULATED_VECTOR4(uint4, unsigned)
#undef TANDEM_EMULATED_VECTOR2
#undef TANDEM_EMULATED_VECTOR4

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;
