// The bodies of kernels/common/ptx.h: fragments go between the lanes as the PTX manual lays them out.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "scheduler.h"

namespace cuda_emulation {

struct MmaOperands {
  float* d;
  const uint32_t *a, *b;
};
void RunMmaBf16(void* const operands[32]);
void RunMmaTf32(void* const operands[32]);

inline void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                    const Where& where = Where::current()) {
  MmaOperands operands = {d, a, b};
  WarpCollective(0xffffffffu, RunMmaBf16, &operands, where);
}
inline void MmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                    const Where& where = Where::current()) {
  MmaOperands operands = {d, a, b};
  WarpCollective(0xffffffffu, RunMmaTf32, &operands, where);
}
inline uint32_t RoundToTf32(float value) {  // to nearest, ties away from zero: 13 bits go
  return (std::bit_cast<uint32_t>(value) + 0x1000u) & ~0x1fffu;
}

struct LdMatrixOperands {
  uint32_t* r;
  const void* row;
  int count;
};
void RunLdMatrix(void* const operands[32]);
void RunLdMatrixTransposed(void* const operands[32]);

template <int N>
void LdMatrix(uint32_t (&r)[N], const void* row, const Where& where = Where::current()) {
  static_assert(N == 1 || N == 2 || N == 4);
  LdMatrixOperands operands = {r, row, N};
  WarpCollective(0xffffffffu, RunLdMatrix, &operands, where);
}
template <int N>
void LdMatrixTransposed(uint32_t (&r)[N], const void* row, const Where& where = Where::current()) {
  static_assert(N == 1 || N == 2 || N == 4);
  LdMatrixOperands operands = {r, row, N};
  WarpCollective(0xffffffffu, RunLdMatrixTransposed, &operands, where);
}

inline void CpAsync16(void* shared, const void* global) {
  StartCopy(shared, global, 16, false);
}
inline void CpAsync16OrZero(void* shared, const void* global, bool valid) {
  StartCopy(shared, global, 16, !valid);
}
inline void CpAsyncCommit() {
  CommitCopies();
}
template <int kPending>
void CpAsyncWait() {
  WaitForCopies(kPending);
}

inline float Exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;  // flushed
}

}  // namespace cuda_emulation
