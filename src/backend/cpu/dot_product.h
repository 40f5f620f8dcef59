// Products of bf16 operands on CPUs with AVX512-BF16 (vdpbf16ps: two multiply-adds per lane and instruction, fp32
// sums).
//
//   B, panels of 16 columns    [panel][k / 2][16 columns][2]       one k pair of a panel is a cache line
//   A, tiles of rows           [tile][k / 2][rows of the tile][2]  a tile reads it as one sequential stream
//
// k stands in pairs; an odd k ends with a zero. Up to 28 rows are one tile, which runs over B once, as it lies in
// memory.
//
// Each C[m, n] is one chain of vdpbf16ps over the k pairs in order: it depends, bit for bit, on neither the number of
// rows, nor the blocking, nor the thread that computes it, and a chain continued from C equals one uninterrupted chain.
#pragma once

#include <cstdint>

namespace tandem::cpu {

inline constexpr int64_t kDotPanel = 16;                    // columns
inline constexpr int64_t kDotPairElements = 2 * kDotPanel;  // of one k pair of a panel
inline constexpr int kDotTileRows = 28;                     // of A: so many are one tile
inline constexpr int64_t kDotGroup = 4;                     // panels that are best computed in one call

// Whether this CPU and its operating system can run what follows. Everything below needs it.
bool HasBf16Dot();

inline int64_t DotPairs(int64_t k) {
  return (k + 1) / 2;
}

// k pairs [first, first + count) of x [rows, k] f32 as A, rounded to nearest even. first is a multiple of 16.
void PackDotRows(const float* x, int64_t rows, int64_t k, int64_t first, int64_t count, uint16_t* a);

struct DotShape {
  int64_t m = 0, n = 0, pairs = 0;
};

// Memory that the caller reads next, fetched while the first tile of rows computes: for each panel of this call
// `pairs` lines, those of panel p from data + p * panel_bytes on, in pieces of 32 lines, `piece_bytes` apart.
struct DotFetch {
  const char* data = nullptr;  // null: nothing
  int64_t panel_bytes = 0, piece_bytes = 0;
};

// C [m, n] (+)= A B over k pairs [first_pair, first_pair + pairs) of A, which has a_pairs.
struct DotOperands {
  const uint16_t* a = nullptr;
  int64_t a_pairs = 0, first_pair = 0;
  const uint16_t* b = nullptr;
  int64_t panel_stride = 0;  // elements
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
  bool streamed = false;  // B comes from memory, panel after panel: it fetches itself, and `fetch` is not used
  DotFetch fetch;
};
void DotProduct(const DotShape& shape, const DotOperands& operands);

// Rows [first, first + 16) of weight [rows, columns] bf16 as one panel of B; rows past the end are zero.
void PackDotPanel(const uint16_t* weight, int64_t rows, int64_t columns, int64_t first, uint16_t* panel);

// For the product with the transposed weight: from the panel of 16 rows of W, columns [first_k, first_k + 64) as four
// panels `out_stride` apart of 8 k pairs each. first_k is a multiple of 64; columns past 2 * pairs are zero.
void TransposeDotBlock(const uint16_t* panel, int64_t pairs, int64_t first_k, uint16_t* out, int64_t out_stride);

}  // namespace tandem::cpu
