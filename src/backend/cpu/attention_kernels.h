// Attention of a tile of query rows that share one KV head, single-threaded, vectorised at run time (Highway).
#pragma once

#include <algorithm>
#include <span>

#include "backend/cpu/kv_layout.h"
#include "tandem/backend.h"

namespace tandem::cpu {

inline constexpr int kMaxTileRows = 256;

// head_dim is a multiple of 16. Rows of a tile are (token, query head of the group) pairs, token-major: tile row t *
// group + h.
struct AttentionTile {
  const PagedKv* kv = nullptr;
  KvLayout layout = KvLayout::kPlain;
  std::span<const BlockId> blocks;
  int kv_head = 0;
  int group = 1;  // query heads per KV head
  int num_tokens = 0;
  int first_position = 0;  // of the first token
  int window = 0;          // see AttentionOptions
  float soft_cap = 0;
  const float* q = nullptr;  // [num_tokens * group, head_dim], scaled
  float* scores = nullptr;   // scratch [num_tokens * group, score_stride]
  int64_t score_stride = 0;  // >= positions seen, a multiple of 16
  float* out = nullptr;      // [num_tokens * group, head_dim]
  float* lse = nullptr;      // [num_tokens * group]
  // Of KvLayout::kPaired: q and the scores as bf16.
  uint16_t* rounded_q = nullptr;       // scratch [num_tokens * group, head_dim]
  uint16_t* rounded_scores = nullptr;  // scratch [num_tokens * group, score_stride]
};

// The first position that the row at `position` sees.
inline int FirstSeen(int position, int window) {
  return window == 0 ? 0 : std::max(0, position - window + 1);
}

// Where the first block that any row of the tile sees begins.
inline int BeginOf(const AttentionTile& tile) {
  return FirstSeen(tile.first_position, tile.window) / kKvBlock * kKvBlock;
}

// out = softmax(q K^T) V for every row over the positions it sees.
void AttentionForwardTile(const AttentionTile& tile);

// scores = q K^T, before the soft cap, over the positions that any row of the tile sees, rounded outwards to whole
// blocks: backward's first product.
void AttentionScores(const AttentionTile& tile);

}  // namespace tandem::cpu
