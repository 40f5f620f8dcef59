// How the CPU backend lays out one block of the paged pool, per KV head:
//
//   keys    [block][kv_head][head_dim][16]   transposed: a block is one panel of B in scores = q K^T
//   values  [block][kv_head][16][head_dim]   as they come: a block is sixteen rows of B in out = p V
//
// and where bf16 dot products take them (KvLayout::kPaired), what they sum over in pairs:
//
//   keys    [block][kv_head][head_dim / 2][16][2]
//   values  [block][kv_head][8][head_dim][2]
#pragma once

#include <cstdint>

#include "tandem/backend.h"

namespace tandem::cpu {

inline constexpr int kKvBlock = 16;  // tokens; the only block size of this backend

enum class KvLayout { kPlain, kPaired };

inline int64_t KvHeadOffset(const PagedKv& kv, BlockId block, int kv_head) {
  return (static_cast<int64_t>(block) * kv.num_kv_heads + kv_head) * kv.head_dim * kKvBlock;
}

// Keys and values of one KV head over positions [0, count) as f32 rows, for backward:
//   keys_rows [count, head_dim]; values_transposed [ceil(count / 16)][head_dim][16]
void GatherForBackward(const PagedKv& kv, KvLayout layout, std::span<const BlockId> blocks, int kv_head, int count,
                       float* keys_rows, float* values_transposed);

}  // namespace tandem::cpu
