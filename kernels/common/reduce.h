// Sums and maxima over a warp or a block, the same bits every time: the order is fixed by the lanes' numbers. Every
// lane (every thread of the block) takes part and receives the result.
#pragma once

#include <cuda_runtime.h>

namespace tandem::kernels {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Min {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

// Over groups of kWidth neighbouring lanes (a power of two).
template <int kWidth = kWarpSize, typename T, typename Combine>
__device__ __forceinline__ T WarpReduce(T value, Combine combine) {
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}
template <int kWidth = kWarpSize, typename T>
__device__ __forceinline__ T WarpSum(T value) {
  return WarpReduce<kWidth>(value, Sum());
}
template <int kWidth = kWarpSize, typename T>
__device__ __forceinline__ T WarpMax(T value) {
  return WarpReduce<kWidth>(value, Max());
}

// Over a block of kThreads along x, a multiple of 32. `scratch` is kThreads / 32 values in shared memory, which may be
// used again at once: the first barrier guards it against the reads of a call before.
template <int kThreads, typename T, typename Combine>
__device__ __forceinline__ T BlockReduce(T value, T* scratch, Combine combine) {
  constexpr int kWarps = kThreads / kWarpSize;
  static_assert(kThreads % kWarpSize == 0 && kWarps <= kWarpSize);
  value = WarpReduce(value, combine);
  if constexpr (kWarps == 1) return value;
  __syncthreads();
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  T total = scratch[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) total = combine(total, scratch[i]);
  return total;
}
template <int kThreads, typename T>
__device__ __forceinline__ T BlockSum(T value, T* scratch) {
  return BlockReduce<kThreads>(value, scratch, Sum());
}
template <int kThreads, typename T>
__device__ __forceinline__ T BlockMax(T value, T* scratch) {
  return BlockReduce<kThreads>(value, scratch, Max());
}

}  // namespace tandem::kernels
