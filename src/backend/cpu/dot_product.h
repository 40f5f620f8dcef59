// Products of bf16 operands on CPUs with AVX512-BF16 (vdpbf16ps: two multiply-adds per lane and instruction, fp32
// sums).
//
// B stands in panels of 64 columns, k in pairs:
//
//   panel:  [k / 2][64 columns][2]      one k pair of 64 columns is 256 consecutive bytes; an odd k ends with a zero
//
// Each C[m, n] is one chain of vdpbf16ps over the k pairs in order: it depends, bit for bit, on neither the number of
// rows, nor the blocking, nor the thread that computes it, and a chain continued from C equals one uninterrupted chain.
#pragma once

#include <cstdint>

namespace tandem::cpu {

inline constexpr int64_t kDotPanel = 64;                    // columns
inline constexpr int64_t kDotPairElements = 2 * kDotPanel;  // of one k pair of a panel

// Whether this CPU and its operating system can run what follows. Everything below needs it.
bool HasBf16Dot();

inline int64_t DotPairs(int64_t k) {
  return (k + 1) / 2;
}
// Elements between rows of A: whole vectors, and never a multiple of 4096 bytes, which would map all rows of a tile to
// the same cache sets.
inline int64_t DotRowStride(int64_t k) {
  return (k + 31) / 32 * 32 + 32;
}

// Rows of f32 as rows of bf16, rounded to nearest even, DotRowStride(k) apart, zero behind k.
void RoundRows(const float* x, int64_t rows, int64_t k, uint16_t* out);

struct DotShape {
  int64_t m = 0, columns = 0, pairs = 0;  // columns: up to kDotPanel, those of the panel that C has
};

// C [m, columns] (+)= A [m, 2 pairs] B, one panel.
struct DotOperands {
  const uint16_t* a = nullptr;
  int64_t a_row = 0;
  const uint16_t* b = nullptr;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
  // What is fetched while the tiles of rows compute. B comes from memory and the next panel follows it there:
  bool streamed = false;
  // or pieces of memory that the caller reads next, `pairs` lines of each.
  const uint16_t* const* next = nullptr;  // [num_next]
  int64_t num_next = 0;
};
void DotPanelProduct(const DotShape& shape, const DotOperands& operands);

// Rows [first, first + 64) of weight [rows, columns] bf16 as one panel; rows past the end are zero.
void PackDotPanel(const uint16_t* weight, int64_t rows, int64_t columns, int64_t first, uint16_t* panel);

// For the product with the transposed weight: from the panel of 64 rows of W, columns [first_k, first_k + 64) as
// out [64 rows / 2][64 columns][2]. first_k is a multiple of 64; columns past 2 * pairs are zero.
void TransposeDotBlock(const uint16_t* panel, int64_t pairs, int64_t first_k, uint16_t* out);

}  // namespace tandem::cpu
