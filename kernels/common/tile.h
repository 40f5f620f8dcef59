// Tiles of bf16 rows in swizzled shared memory (swizzle.h), and the MMA fragments that are read from them; register
// layouts in ptx.h.
#pragma once

#include "ptx.h"
#include "reduce.h"
#include "swizzle.h"
#include "types.h"

namespace tandem::kernels {

// fn(i) for i = thread, thread + kThreads, ... below kCount: a trip count that the compiler knows.
template <int kCount, int kThreads, int kUnroll = 16, typename Fn>
__device__ __forceinline__ void ForEach(int thread, Fn&& fn) {
#pragma unroll kUnroll
  for (int j = 0; j < (kCount + kThreads - 1) / kThreads; ++j) {
    const int i = thread + j * kThreads;
    if (kCount % kThreads == 0 || i < kCount) fn(i);
  }
}

// A[16, 16]: rows [row, row + 16) and columns [16 k, + 16) of a tile.
template <int kDim>
__device__ __forceinline__ void FragmentA(uint32_t (&a)[4], const bf16* tile, int row, int k) {
  const int lane = threadIdx.x % kWarpSize;
  LdMatrix(a, tile + TileOffset<kDim>(row + lane % 16, 2 * k + lane / 16));
}

// Two B[16, 8] side by side of B = tile^T: columns n are rows [row, row + 16) of the tile, k its columns [16 k, + 16).
template <int kDim>
__device__ __forceinline__ void FragmentBOfRows(uint32_t (&b)[2][2], const bf16* tile, int row, int k) {
  const int lane = threadIdx.x % kWarpSize;
  uint32_t r[4];
  LdMatrix(r, tile + TileOffset<kDim>(row + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
  b[0][0] = r[0];
  b[0][1] = r[1];
  b[1][0] = r[2];
  b[1][1] = r[3];
}

// Two B[16, 8] side by side of B = tile: k are rows [row, row + 16) of the tile, columns n its columns [16 n, + 16).
template <int kDim>
__device__ __forceinline__ void FragmentB(uint32_t (&b)[2][2], const bf16* tile, int row, int n) {
  const int lane = threadIdx.x % kWarpSize;
  uint32_t r[4];
  LdMatrixTransposed(r, tile + TileOffset<kDim>(row + lane % 16, 2 * n + lane / 16));
  b[0][0] = r[0];
  b[0][1] = r[1];
  b[1][0] = r[2];
  b[1][1] = r[3];
}

}  // namespace tandem::kernels
