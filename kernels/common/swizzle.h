// Where the 16-byte chunks of a tile of bf16 rows lie in shared memory, so that ldmatrix (eight rows, one chunk column)
// meets every bank once, and so do the copies that fill the tile (eight chunks of one row).
#pragma once

#include <cuda_runtime.h>

namespace tandem::kernels {

// The 32 banks are eight columns of 16 bytes; chunk c of row r of an unswizzled tile is in column (r * kChunks + c)
// % 8. Rows of 8n chunks all start in column 0: row r is turned by r % 8. Rows of 8n + 4 chunks (head_dim 96) start in
// columns 0 and 4 by turns, which leaves four rows each to tell apart: pairs of rows are turned by their number % 4.
template <int kChunks>
__host__ __device__ __forceinline__ constexpr int SwizzledChunk(int row, int chunk) {
  static_assert(kChunks % 4 == 0, "a row is a multiple of 64 bytes");
  return kChunks % 8 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
}

// Elements from the tile's start to a chunk of eight.
template <int kDim>
__host__ __device__ __forceinline__ constexpr int TileOffset(int row, int chunk) {
  return row * kDim + SwizzledChunk<kDim / 8>(row, chunk) * 8;
}

}  // namespace tandem::kernels
