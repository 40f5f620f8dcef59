#include "backend/cpu/dot_product.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's own _mm512_undefined_epi32
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "hwy/base.h"

namespace tandem::cpu {

bool HasBf16Dot() {
  static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has;
}

}  // namespace tandem::cpu

HWY_PUSH_ATTRIBUTES("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace tandem::cpu {
namespace {

// Six rows by four vectors: 24 sums in flight, four vectors of B and a broadcast of A fill 29 of 32 registers. The sums
// hide a latency of six cycles four times over.
constexpr int kTileRows = 7;
constexpr int kVectors = 4;
// All tiles of rows share a block of B (64 KiB) in L2. A shorter one would stay in L1, but reload C more often: slower.
constexpr int64_t kBlockPairs = 256;
constexpr int64_t kLine = 64;

struct TileC {
  float* data;
  int64_t row;
  __mmask16 mask[kVectors];
};

// LINES: cache lines fetched ahead per k pair, starting at `ahead`.
template <int ROWS, int LINES>
inline void Tile(int64_t pairs, const uint16_t* a, int64_t a_row, const uint16_t* b, const TileC& c, bool accumulate,
                 const char* ahead) {
  __m512 sum[ROWS][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      sum[r][j] = accumulate ? _mm512_maskz_loadu_ps(c.mask[j], c.data + r * c.row + 16 * j) : _mm512_setzero_ps();
    }
  }
  for (int64_t i = 0; i < pairs; ++i) {
    __m512i column[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) column[j] = _mm512_loadu_si512(b + 32 * j);
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) _mm_prefetch(ahead + l * kLine, _MM_HINT_T1);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      int pair;
      std::memcpy(&pair, a + r * a_row, sizeof(pair));
      const __m512i x = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(column[j]));
      }
    }
    a += 2;
    b += kDotPairElements;
    ahead += LINES * kLine;
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) _mm512_mask_storeu_ps(c.data + r * c.row + 16 * j, c.mask[j], sum[r][j]);
  }
}

template <int LINES>
void TileOf(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint16_t* b, const TileC& c,
            bool accumulate, const char* ahead) {
  switch (rows) {
    case 1:
      return Tile<1, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    case 2:
      return Tile<2, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    case 3:
      return Tile<3, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    case 4:
      return Tile<4, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    case 5:
      return Tile<5, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    case 6:
      return Tile<6, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
    default:
      return Tile<7, LINES>(pairs, a, a_row, b, c, accumulate, ahead);
  }
}

// 16 x 16 elements of 32 bits.
inline void Transpose16(__m512i (&rows)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pairs of rows: 2 x 2 within 128-bit lanes
    t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // 4 x 4 within lanes
    rows[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    rows[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // lanes: a 4 x 4 transposition of 128-bit elements
    const __m512i low01 = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0x88);
    const __m512i low23 = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0x88);
    const __m512i high01 = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0xdd);
    const __m512i high23 = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0xdd);
    t[i] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[4 + i] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = t[i];
}

}  // namespace

void RoundRows(const float* x, int64_t rows, int64_t k, uint16_t* out) {
  const int64_t stride = DotRowStride(k);
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = x + r * k;
    uint16_t* to = out + r * stride;
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) {
      const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), reinterpret_cast<__m256i>(rounded));
    }
    if (i < k) {
      const __mmask16 mask = static_cast<__mmask16>((1u << (k - i)) - 1);
      const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), reinterpret_cast<__m256i>(rounded));
    }
  }
}

void DotPanelProduct(const DotShape& shape, const DotOperands& o) {
  TileC c{o.c, o.c_row, {}};
  for (int j = 0; j < kVectors; ++j) {
    const int64_t lanes = std::clamp<int64_t>(shape.columns - 16 * j, 0, 16);
    c.mask[j] = static_cast<__mmask16>((1u << lanes) - 1);
  }
  if (shape.pairs == 0 && o.accumulate) return;
  // One tile is one sequential stream: the hardware's own prefetcher keeps it at what memory gives, and fetching ahead
  // by hand cost up to a third of that for two rows and more.
  if (shape.m <= kTileRows) return TileOf<0>(shape.m, shape.pairs, o.a, o.a_row, o.b, c, o.accumulate, nullptr);
  const int64_t tiles = (shape.m + kTileRows - 1) / kTileRows;
  int64_t first = 0;
  do {
    const int64_t pairs = std::min(kBlockPairs, shape.pairs - first);
    const uint16_t* b = o.b + first * kDotPairElements;
    // Each tile fetches its share of the block that follows, so that the tiles' arithmetic hides the memory's latency.
    const char* next = reinterpret_cast<const char*>(b + pairs * kDotPairElements);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t row = shape.m * t / tiles, rows = shape.m * (t + 1) / tiles - row;
      TileC part = c;
      part.data += row * c.row;
      const uint16_t* a = o.a + row * o.a_row + 2 * first;
      const bool accumulate = o.accumulate || first > 0;
      if (t < o.num_next) {
        TileOf<1>(rows, pairs, a, o.a_row, b, part, accumulate, reinterpret_cast<const char*>(o.next[t]));
      } else if (!o.streamed || t >= 4 || (tiles < 4 && t >= 2)) {
        TileOf<0>(rows, pairs, a, o.a_row, b, part, accumulate, next);
      } else if (tiles < 4) {
        TileOf<2>(rows, pairs, a, o.a_row, b, part, accumulate, next + t * pairs * 2 * kLine);
      } else {
        TileOf<1>(rows, pairs, a, o.a_row, b, part, accumulate, next + t * pairs * kLine);
      }
    }
    first += pairs;
  } while (first < shape.pairs);
}

void PackDotPanel(const uint16_t* weight, int64_t rows, int64_t columns, int64_t first, uint16_t* panel) {
  const int64_t valid = std::min(kDotPanel, rows - first), whole = valid == kDotPanel ? columns / 32 * 32 : 0;
  for (int64_t k = 0; k < whole; k += 32) {
    for (int64_t n = 0; n < kDotPanel; n += 16) {
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(weight + (first + n + i) * columns + k);
      Transpose16(block);
      uint16_t* out = panel + k / 2 * kDotPairElements + 2 * n;
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * kDotPairElements, block[i]);
    }
  }
  std::fill(panel + whole / 2 * kDotPairElements, panel + DotPairs(columns) * kDotPairElements, uint16_t{0});
  for (int64_t n = 0; n < valid; ++n) {
    const uint16_t* row = weight + (first + n) * columns;
    for (int64_t k = whole; k < columns; ++k) panel[k / 2 * kDotPairElements + 2 * n + k % 2] = row[k];
  }
}

void TransposeDotBlock(const uint16_t* panel, int64_t pairs, int64_t first_k, uint16_t* out) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t k = 0; k < kDotPanel; k += 32) {
    const int64_t first_pair = (first_k + k) / 2, count = std::clamp<int64_t>(pairs - first_pair, 0, 16);
    for (int64_t n = 0; n < kDotPanel; n += 16) {
      __m512i block[16];  // k pairs by 16 rows of W; then rows by k pairs
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        block[i] = i < count ? _mm512_loadu_si512(panel + (first_pair + i) * kDotPairElements + 2 * n)
                             : _mm512_setzero_si512();
      }
      Transpose16(block);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        uint16_t* to = out + (n / 2 + i) * kDotPairElements + 2 * k;
        _mm512_storeu_si512(to, _mm512_permutex2var_epi16(block[2 * i], low, block[2 * i + 1]));
        _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(block[2 * i], high, block[2 * i + 1]));
      }
    }
  }
}

}  // namespace tandem::cpu
HWY_POP_ATTRIBUTES

#else
#include "base/check.h"

namespace tandem::cpu {

bool HasBf16Dot() {
  return false;
}
void RoundRows(const float*, int64_t, int64_t, uint16_t*) {
  CHECK(false);
}
void DotPanelProduct(const DotShape&, const DotOperands&) {
  CHECK(false);
}
void PackDotPanel(const uint16_t*, int64_t, int64_t, int64_t, uint16_t*) {
  CHECK(false);
}
void TransposeDotBlock(const uint16_t*, int64_t, int64_t, uint16_t*) {
  CHECK(false);
}

}  // namespace tandem::cpu
#endif
