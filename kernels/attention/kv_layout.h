// How the CUDA backend lays out the paged KV pool of one layer, keys and values alike:
//
//   [block][kv_head][slot][head_dim]      position p of a sequence: block blocks[p / block_size], slot p % block_size
//
// The tokens of one block and KV head are one contiguous piece (16 tokens of 128 bf16: 4 KiB), rows of it are 16-byte
// aligned because head_dim is a multiple of 16: cp.async takes them as they are, ldmatrix reads keys as they lie (B of
// q k^T) and values transposed (B of p v). Sixteen aligned positions never straddle blocks: every page walk is one
// look-up per 16 positions.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/types.h"

namespace tandem::kernels {

inline constexpr int kPageGrain = 16;  // positions; block sizes are powers of two from here on

struct KvPool {
  void* keys = nullptr;
  void* values = nullptr;
  Type type = Type::kF32;
  int block_shift = 4;  // block_size == 1 << block_shift
  int num_kv_heads = 0;
  int head_dim = 0;  // a multiple of 16, at most 256
};

// Consecutive rows of one sequence.
struct AttentionSpan {
  int first_row = 0, num_rows = 0;
  int first_position = 0;
  int first_block = 0;  // of its block table, in the call's list of block ids
};

__host__ __device__ __forceinline__ int64_t PoolOffset(const KvPool& pool, int block, int kv_head, int slot) {
  const int64_t piece = static_cast<int64_t>(block) * pool.num_kv_heads + kv_head;
  return ((piece << pool.block_shift) + slot) * pool.head_dim;
}

// Elements from the pool's start to (position, kv_head) of the sequence whose block table is `blocks`.
__host__ __device__ __forceinline__ int64_t PositionOffset(const KvPool& pool, const int32_t* blocks, int position,
                                                           int kv_head) {
  const int slot = position & ((1 << pool.block_shift) - 1);
  return PoolOffset(pool, blocks[position >> pool.block_shift], kv_head, slot);
}

// The first position that the row at `position` sees; window 0 sees all.
__host__ __device__ __forceinline__ int FirstSeen(int position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// Rows of the query heads of one KV head, packed token after token: packed row r of a span is token r / group, query
// head kv_head * group + r % group. So an MMA's rows are filled by grouped heads, and keys and values are read once for
// all of them.
__host__ __device__ __forceinline__ int PackedPosition(const AttentionSpan& span, int group, int packed_row) {
  return span.first_position + packed_row / group;
}
// Elements from the start of q, out or dout [rows, num_kv_heads * group * head_dim] to a packed row.
__host__ __device__ __forceinline__ int64_t PackedOffset(const AttentionSpan& span, const KvPool& pool, int group,
                                                         int kv_head, int packed_row) {
  const int64_t row = span.first_row + packed_row / group;
  return ((row * pool.num_kv_heads + kv_head) * group + packed_row % group) * pool.head_dim;
}
// The same in [rows, num_heads]: of log-sum-exps.
__host__ __device__ __forceinline__ int64_t PackedIndex(const AttentionSpan& span, const KvPool& pool, int group,
                                                        int kv_head, int packed_row) {
  const int64_t row = span.first_row + packed_row / group;
  return (row * pool.num_kv_heads + kv_head) * group + packed_row % group;
}

}  // namespace tandem::kernels
