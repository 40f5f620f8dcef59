// The PTX instructions that kernels use, one thin wrapper each. Under emulation (tests/cuda_emulation) the same names
// move the fragments between the 32 lanes exactly as the PTX manual lays them out.
//
// With g = lane / 4 and t = lane % 4, a register of bf16 holds two neighbours, the lower column (A) or row (B) first:
//   m16n8k16   A: a0 (g, 2t)  a1 (g+8, 2t)  a2 (g, 2t+8)  a3 (g+8, 2t+8)     B: b0 (2t, g)  b1 (2t+8, g)
//   m16n8k8    A: a0 (g, t)   a1 (g+8, t)   a2 (g, t+4)   a3 (g+8, t+4)      B: b0 (t, g)   b1 (t+4, g)
//   both       D: d0 (g, 2t)  d1 (g, 2t+1)  d2 (g+8, 2t)  d3 (g+8, 2t+1)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

#ifdef TANDEM_CUDA_EMULATION
using cuda_emulation::CpAsync16;
using cuda_emulation::CpAsync16OrZero;
using cuda_emulation::CpAsyncCommit;
using cuda_emulation::CpAsyncWait;
using cuda_emulation::Exp2;
using cuda_emulation::LdMatrix;
using cuda_emulation::LdMatrixTransposed;
using cuda_emulation::MmaBf16;
using cuda_emulation::MmaTf32;
using cuda_emulation::RoundToTf32;
#else

__device__ __forceinline__ uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// d[16, 8] += a[16, 16] b[16, 8], all bf16 with an f32 sum.
__device__ __forceinline__ void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[16, 8] += a[16, 8] b[8, 8], tf32 as RoundToTf32 gives it.
__device__ __forceinline__ void MmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t RoundToTf32(float value) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(rounded) : "f"(value));
  return rounded;
}

// N = 1, 2 or 4 matrices of 8 x 8 bf16. Lanes 8i .. 8i + 7 give the addresses of matrix i's rows (16 bytes each, in
// shared memory); register i of a lane receives (lane / 4, 2 (lane % 4)) and its right neighbour.
template <int N>
__device__ __forceinline__ void LdMatrix(uint32_t (&r)[N], const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const uint32_t address = SharedAddress(row);
  if constexpr (N == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];\n" : "=r"(r[0]) : "r"(address) : "memory");
  } else if constexpr (N == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}

// As LdMatrix, but a lane receives (2 (lane % 4), lane / 4) and the element below it.
template <int N>
__device__ __forceinline__ void LdMatrixTransposed(uint32_t (&r)[N], const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const uint32_t address = SharedAddress(row);
  if constexpr (N == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];\n" : "=r"(r[0]) : "r"(address) : "memory");
  } else if constexpr (N == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}

// Copies 16 aligned bytes to shared memory in the background. They are there for the calling thread after a
// CpAsyncWait that covers their group, and for the block after a __syncthreads behind that.
__device__ __forceinline__ void CpAsync16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(SharedAddress(shared)), "l"(global) : "memory");
}
// Sixteen zeros where not `valid`; `global` is not read then, but has to be an address.
__device__ __forceinline__ void CpAsync16OrZero(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(SharedAddress(shared)), "l"(global), "r"(bytes)
               : "memory");
}
// Closes the group of the copies since the last one.
__device__ __forceinline__ void CpAsyncCommit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
// Waits until at most kPending of the last groups are under way.
template <int kPending>
__device__ __forceinline__ void CpAsyncWait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// 2^x, one instruction; relative error 2^-22, subnormals are zero.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
#endif

}  // namespace tandem::kernels
