// Device functions of one thread: atomics (threads take turns, so plain code is atomic), bits, loads, fast maths.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

template <typename T>
T atomicExch(T* address, T value) {
  const T old = *address;
  *address = value;
  return old;
}
template <typename T, typename U>
T atomicAdd(T* address, U value) {
  return atomicExch(address, static_cast<T>(*address + static_cast<T>(value)));
}
template <typename T, typename U>
T atomicSub(T* address, U value) {
  return atomicExch(address, static_cast<T>(*address - static_cast<T>(value)));
}
template <typename T, typename U>
T atomicMax(T* address, U value) {
  return atomicExch(address, *address > static_cast<T>(value) ? *address : static_cast<T>(value));
}
template <typename T, typename U>
T atomicMin(T* address, U value) {
  return atomicExch(address, *address < static_cast<T>(value) ? *address : static_cast<T>(value));
}
template <typename T, typename U>
T atomicOr(T* address, U value) {
  return atomicExch(address, static_cast<T>(*address | static_cast<T>(value)));
}
template <typename T, typename U>
T atomicAnd(T* address, U value) {
  return atomicExch(address, static_cast<T>(*address & static_cast<T>(value)));
}
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return atomicExch(address, *address >= limit ? 0u : *address + 1);
}
template <typename T>
T atomicCAS(T* address, T compare, T value) {
  return atomicExch(address, *address == compare ? value : *address);
}

inline uint32_t __float_as_uint(float value) {
  return std::bit_cast<uint32_t>(value);
}
inline int __float_as_int(float value) {
  return std::bit_cast<int>(value);
}
inline float __uint_as_float(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline float __int_as_float(int bits) {
  return std::bit_cast<float>(bits);
}
inline long long __double_as_longlong(double value) {
  return std::bit_cast<long long>(value);
}
inline double __longlong_as_double(long long bits) {
  return std::bit_cast<double>(bits);
}
inline int __popc(unsigned bits) {
  return std::popcount(bits);
}
inline int __popcll(unsigned long long bits) {
  return std::popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
inline int __clz(int bits) {
  return std::countl_zero(static_cast<unsigned>(bits));
}
inline int __clzll(long long bits) {
  return std::countl_zero(static_cast<unsigned long long>(bits));
}
inline unsigned __brev(unsigned bits) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (bits >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

// Loads and stores with a cache hint.
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}
template <typename T>
void __stcg(T* address, T value) {
  *address = value;
}

inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __saturatef(float x) {
  return x < 0 || std::isnan(x) ? 0.0f : (x > 1 ? 1.0f : x);
}
// Rounded one by one: never contracted to a multiply-add (the emulator is compiled with -ffp-contract=off).
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return std::fma(x, y, z);
}
