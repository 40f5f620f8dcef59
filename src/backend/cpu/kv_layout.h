// How the CPU backend lays out one block of the paged pool, per KV head:
//
//   keys    [block][kv_head][head_dim][16]   transposed: a block is one panel of B in scores = q K^T
//   values  [block][kv_head][16][head_dim]   as they come: a block is sixteen rows of B in out = p V
#pragma once

#include <cstdint>

#include "tandem/backend.h"

namespace tandem::cpu {

inline constexpr int kKvBlock = 16;  // tokens; the only block size of this backend

inline int64_t KvHeadOffset(const PagedKv& kv, BlockId block, int kv_head) {
  return (static_cast<int64_t>(block) * kv.num_kv_heads + kv_head) * kv.head_dim * kKvBlock;
}

// Keys and values of one KV head over positions [0, count) as f32 rows, for backward:
//   keys_rows [count, head_dim]; values_transposed [ceil(count / 16)][head_dim][16]
void GatherForBackward(const PagedKv& kv, std::span<const BlockId> blocks, int kv_head, int count, float* keys_rows,
                       float* values_transposed);

}  // namespace tandem::cpu
