// Sixteen bytes at a time: eight bf16 or four f32, widened to f32 in registers. Addresses are 16-byte aligned.
#pragma once

#include "types.h"

namespace tandem::kernels {

template <typename T>
inline constexpr int kVectorSize = 16 / static_cast<int>(sizeof(T));

// Whether rows of `width` elements from `data` on can be taken as vectors.
template <typename T>
__host__ __device__ __forceinline__ bool CanVectorize(const T* data, int64_t width) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && width % kVectorSize<T> == 0;
}

// The sixteen bytes as they lie in memory.
template <typename T>
struct alignas(16) Vector {
  uint4 raw;
};

__device__ __forceinline__ void Widen(const Vector<float>& v, float (&values)[4]) {
  values[0] = __uint_as_float(v.raw.x);
  values[1] = __uint_as_float(v.raw.y);
  values[2] = __uint_as_float(v.raw.z);
  values[3] = __uint_as_float(v.raw.w);
}
__device__ __forceinline__ void Widen(const Vector<bf16>& v, float (&values)[8]) {
  const uint32_t pairs[4] = {v.raw.x, v.raw.y, v.raw.z, v.raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = LowBf16(pairs[i]);
    values[2 * i + 1] = HighBf16(pairs[i]);
  }
}

__device__ __forceinline__ Vector<float> Narrow(const float (&values)[4]) {
  return {make_uint4(__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                     __float_as_uint(values[3]))};
}
__device__ __forceinline__ Vector<bf16> Narrow(const float (&values)[8]) {
  return {make_uint4(PackBf16(values[0], values[1]), PackBf16(values[2], values[3]), PackBf16(values[4], values[5]),
                     PackBf16(values[6], values[7]))};
}

template <typename T>
__device__ __forceinline__ Vector<T> LoadVector(const T* data) {
  return {*reinterpret_cast<const uint4*>(data)};
}
template <typename T>
__device__ __forceinline__ void StoreVector(T* data, const Vector<T>& v) {
  *reinterpret_cast<uint4*>(data) = v.raw;
}
// For what is read or written once: it leaves the caches first.
template <typename T>
__device__ __forceinline__ Vector<T> LoadVectorOnce(const T* data) {
  return {__ldcs(reinterpret_cast<const uint4*>(data))};
}
template <typename T>
__device__ __forceinline__ void StoreVectorOnce(T* data, const Vector<T>& v) {
  __stcs(reinterpret_cast<uint4*>(data), v.raw);
}

template <typename T>
__device__ __forceinline__ void Load(const T* data, float (&values)[kVectorSize<T>]) {
  Widen(LoadVector(data), values);
}
template <typename T>
__device__ __forceinline__ void Store(T* data, const float (&values)[kVectorSize<T>]) {
  StoreVector(data, Narrow(values));
}

}  // namespace tandem::kernels
