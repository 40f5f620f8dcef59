// Which CTA does what in one call of attention: made on the host from the spans alone, read by the kernels from the
// device. A mixed batch is one plan: spans that fill at most one MMA tile of rows (decodes above all) go to the decode
// kernel, the others to the prefill kernel.
//
// What a row's result depends on, bit for bit: its own sequence, position and span, never the other spans. Both kernels
// cut keys at absolute positions and take them in a fixed order, and what a row does not see adds exactly nothing. So
// the prefill kernel gives the same bits however a prompt is cut into spans. Decode differs from it in the order of its
// sums; with `deterministic` every span goes to the prefill kernel, and a decoded row equals the same row prefilled
// (after a preemption, a migration, a crash), at the price of one CTA per KV head reading a whole context.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv_layout.h"

namespace tandem::kernels {

// Items carry their span: one dependent read less before a CTA can ask for keys.

// Rows [first, ...) of a span's packed rows, as many as the prefill kernel's tile holds.
struct RowTile {
  AttentionSpan span;
  int first = 0;
};

// Packed rows [first, first + num_rows) of a span, at most 16, over the keys [begin, end) of one split.
struct DecodeItem {
  AttentionSpan span;
  int first = 0, num_rows = 0;
  int begin = 0, end = 0;  // positions; begin is a multiple of 16
  int partial = -1;        // partial row of (KV head 0, packed row `first`), or -1: the only split writes the result
};

// Packed rows whose result is put together from num_splits > 1 partial ones. Split s of KV head h and row r lies at
// partial + (s * num_kv_heads + h) * num_rows + r.
struct CombineItem {
  AttentionSpan span;
  int first = 0, num_rows = 0;
  int partial = 0, num_splits = 0;
};

inline constexpr int kDecodeRows = 16;  // packed rows of a decode item: one MMA tile

// Keys per split of a span whose last row is at `context` - 1: a function of the row's own context and nothing else.
// 256 give a single long sequence enough CTAs early; 512 halve the partial results that are written and read again.
__host__ __device__ __forceinline__ constexpr int SplitTokens(int context) {
  return context <= 4096 ? 256 : 512;
}

struct PlanOptions {
  int group = 1, num_kv_heads = 1;
  int window = 0;
  int prefill_rows = 128;      // of a tile: PrefillTileRows
  bool deterministic = false;  // everything to the prefill kernel
};

struct AttentionPlan {
  std::vector<RowTile> prefill;  // those with the most keys first, so that the last CTAs to finish are short
  std::vector<DecodeItem> decode;
  std::vector<CombineItem> combine;
  int partial_rows = 0;  // of scratch: DecodeScratchBytes
};

AttentionPlan PlanAttention(std::span<const AttentionSpan> spans, const PlanOptions& options);

}  // namespace tandem::kernels
