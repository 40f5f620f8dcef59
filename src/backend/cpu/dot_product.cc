#include "backend/cpu/dot_product.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's own _mm512_undefined_epi32
#endif
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

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

// One panel by up to 28 rows: 28 sums, a vector of B and a broadcast of A fill 30 of 32 registers, and from six sums on
// they hide a latency of six cycles. Fewer rows take four panels at once.
constexpr int kFewRows = 7;
constexpr int kTileRows = kDotTileRows;
constexpr int64_t kLine = 64;
constexpr int64_t kPieceLines = 32;  // of DotFetch
// How far ahead of a single tile B is fetched into L2. The hardware's prefetcher alone left 16 rows a third slower;
// from 4 KiB on the distance hardly matters.
constexpr int64_t kAheadLines = 128;

// A rows by VECTORS panels.
struct TileArgs {
  int64_t pairs;
  const uint16_t* a;
  const uint16_t* b;
  int64_t panel_stride;
  float* c;
  int64_t c_row;
  __mmask16 mask;  // columns of the last panel
  bool accumulate;
  const char* ahead;  // pieces of kPieceLines, piece_bytes apart
  int64_t piece_bytes;
};

template <int ROWS, int VECTORS, bool FETCH>
void Tile(const TileArgs& t) {
  __mmask16 mask[VECTORS];
  __m512 sum[ROWS][VECTORS];
  for (int j = 0; j < VECTORS; ++j) mask[j] = j + 1 < VECTORS ? 0xFFFF : t.mask;
#pragma GCC unroll 28
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) {
      sum[r][j] = t.accumulate ? _mm512_maskz_loadu_ps(mask[j], t.c + r * t.c_row + 16 * j) : _mm512_setzero_ps();
    }
  }
  const uint16_t *a = t.a, *b = t.b;
  const char* piece = t.ahead;
  constexpr int64_t kStep = FETCH ? kPieceLines : std::numeric_limits<int64_t>::max();
  for (int64_t left = t.pairs; left > 0; left -= kStep, piece += t.piece_bytes) {
    const int64_t pairs = std::min(kStep, left);
    for (int64_t i = 0; i < pairs; ++i) {
      __m512i column[VECTORS];
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; ++j) column[j] = _mm512_loadu_si512(b + j * t.panel_stride);
      if constexpr (FETCH) _mm_prefetch(piece + i * kLine, _MM_HINT_T1);
#pragma GCC unroll 28
      for (int r = 0; r < ROWS; ++r) {
        int pair;
        std::memcpy(&pair, a + 2 * r, sizeof(pair));
        const __m512i x = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; ++j) {
          sum[r][j] = _mm512_dpbf16_ps(sum[r][j], reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(column[j]));
        }
      }
      a += 2 * ROWS;
      b += kDotPairElements;
    }
  }
#pragma GCC unroll 28
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) _mm512_mask_storeu_ps(t.c + r * t.c_row + 16 * j, mask[j], sum[r][j]);
  }
}

using TileFn = void (*)(const TileArgs&);

// The tile of ROWS + 1 rows at [ROWS].
template <int VECTORS, bool FETCH, int... ROWS>
constexpr std::array<TileFn, sizeof...(ROWS)> TilesOf(std::integer_sequence<int, ROWS...>) {
  return {Tile<ROWS + 1, VECTORS, FETCH>...};
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

int64_t NumTiles(int64_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}

// The first `count` of columns.
__mmask16 First(int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<int64_t>(count, 0, 16)) - 1);
}

// Up to 16 rows, k apart, by `count` <= 16 k pairs from `pair` on: out [count][out_rows][2].
void PackPairs(const float* x, int64_t rows, int64_t k, int64_t pair, int64_t count, int64_t out_rows, uint16_t* out) {
  // The 16 pairs that follow. Other cores have read those lines in the last product: stores alone would wait for one
  // after the other to become this core's (17 us instead of 5 for 8 rows of 2048).
  for (int64_t line = 0; line < rows; ++line) {
    __builtin_prefetch(reinterpret_cast<char*>(out) + (out_rows + line) * kLine, 1);
  }
  const __mmask16 low = First(k - 2 * pair), high = First(k - 2 * pair - 16);
  __m512i block[16];  // rows by k pairs; then k pairs by rows
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    block[i] = _mm512_setzero_si512();
    if (i >= rows) continue;
    const float* row = x + i * k + 2 * pair;
    const __m512 upper = _mm512_maskz_loadu_ps(high, row + 16);
    block[i] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(upper, _mm512_maskz_loadu_ps(low, row)));
  }
  if (out_rows == 1) return _mm512_mask_storeu_epi32(out, First(count), block[0]);
  Transpose16(block);
  const __mmask16 valid = First(rows);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if (i < count) _mm512_mask_storeu_epi32(out + 2 * i * out_rows, valid, block[i]);
  }
}

// One call of DotProduct: panel by panel all tiles of rows, over all of k, so that sums stay in registers. Blocks of k
// that all rows share would read A from nearer caches, but C more often: no faster from 32 to 512 rows.
class Product {
 public:
  Product(const DotShape& shape, const DotOperands& operands)
      : shape_(shape), o_(operands), tiles_(NumTiles(shape.m)), panels_((shape.n + kDotPanel - 1) / kDotPanel) {}

  void Run() const {
    static constexpr auto kTiles = TilesOf<kDotGroup, false>(std::make_integer_sequence<int, kFewRows>());
    int64_t panel = 0;
    for (; shape_.m <= kFewRows && panel + kDotGroup <= panels_; panel += kDotGroup) {
      kTiles[shape_.m - 1](Args(0, panel, kDotGroup));
    }
    for (; panel < panels_; ++panel) {
      for (int64_t tile = 0; tile < tiles_; ++tile) RunTile(tile, panel);
    }
  }

 private:
  void RunTile(int64_t tile, int64_t panel) const {
    static constexpr auto kPlain = TilesOf<1, false>(std::make_integer_sequence<int, kTileRows>());
    static constexpr auto kFetching = TilesOf<1, true>(std::make_integer_sequence<int, kTileRows>());
    TileArgs args = Args(tile, panel, 1);
    if (tile == 0) args.ahead = Ahead(panel);
    (args.ahead != nullptr ? kFetching : kPlain)[RowsOf(tile) - 1](args);
  }

  TileArgs Args(int64_t tile, int64_t panel, int64_t width) const {
    const int64_t row = FirstRow(tile);
    return {.pairs = shape_.pairs,
            .a = o_.a + 2 * (row * o_.a_pairs + o_.first_pair * RowsOf(tile)),
            .b = o_.b + panel * o_.panel_stride,
            .panel_stride = o_.panel_stride,
            .c = o_.c + row * o_.c_row + panel * kDotPanel,
            .c_row = o_.c_row,
            .mask = First(shape_.n - (panel + width - 1) * kDotPanel),
            .accumulate = o_.accumulate,
            .piece_bytes = o_.streamed ? kPieceLines * kLine : o_.fetch.piece_bytes};
  }

  const char* Ahead(int64_t panel) const {
    if (o_.streamed) return reinterpret_cast<const char*>(o_.b + panel * o_.panel_stride) + kAheadLines * kLine;
    return o_.fetch.data == nullptr ? nullptr : o_.fetch.data + panel * o_.fetch.panel_bytes;
  }

  int64_t FirstRow(int64_t tile) const { return shape_.m * tile / tiles_; }
  int64_t RowsOf(int64_t tile) const { return FirstRow(tile + 1) - FirstRow(tile); }

  const DotShape& shape_;
  const DotOperands& o_;
  const int64_t tiles_, panels_;
};

}  // namespace

void PackDotRows(const float* x, int64_t rows, int64_t k, int64_t first, int64_t count, uint16_t* a) {
  const int64_t pairs = DotPairs(k), tiles = NumTiles(rows);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t row = rows * t / tiles, tile_rows = rows * (t + 1) / tiles - row;
    for (int64_t r = 0; r < tile_rows; r += 16) {
      for (int64_t pair = first; pair < first + count; pair += 16) {
        PackPairs(x + (row + r) * k, std::min<int64_t>(16, tile_rows - r), k, pair,
                  std::min<int64_t>(16, first + count - pair), tile_rows, a + 2 * (row * pairs + pair * tile_rows + r));
      }
    }
  }
}

void DotProduct(const DotShape& shape, const DotOperands& operands) {
  if (shape.m == 0 || (shape.pairs == 0 && operands.accumulate)) return;
  Product(shape, operands).Run();
}

void PackDotPanel(const uint16_t* weight, int64_t rows, int64_t columns, int64_t first, uint16_t* panel) {
  const int64_t valid = std::min(kDotPanel, rows - first), whole = valid == kDotPanel ? columns / 32 * 32 : 0;
  for (int64_t k = 0; k < whole; k += 32) {
    __m512i block[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(weight + (first + i) * columns + k);
    Transpose16(block);
    uint16_t* out = panel + k / 2 * kDotPairElements;
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * kDotPairElements, block[i]);
  }
  std::fill(panel + whole / 2 * kDotPairElements, panel + DotPairs(columns) * kDotPairElements, uint16_t{0});
  for (int64_t n = 0; n < valid; ++n) {
    const uint16_t* row = weight + (first + n) * columns;
    for (int64_t k = whole; k < columns; ++k) panel[k / 2 * kDotPairElements + 2 * n + k % 2] = row[k];
  }
}

void TransposeDotBlock(const uint16_t* panel, int64_t pairs, int64_t first_k, uint16_t* out, int64_t out_stride) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t k = 0; k < kDotGroup * kDotPanel; k += 32, out += 2 * out_stride) {
    const int64_t first_pair = (first_k + k) / 2, count = std::clamp<int64_t>(pairs - first_pair, 0, 16);
    __m512i block[16];  // k pairs by 16 rows of W; then rows by k pairs
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      block[i] = i < count ? _mm512_loadu_si512(panel + (first_pair + i) * kDotPairElements) : _mm512_setzero_si512();
    }
    Transpose16(block);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      _mm512_storeu_si512(out + i * kDotPairElements, _mm512_permutex2var_epi16(block[2 * i], low, block[2 * i + 1]));
      _mm512_storeu_si512(out + out_stride + i * kDotPairElements,
                          _mm512_permutex2var_epi16(block[2 * i], high, block[2 * i + 1]));
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
void PackDotRows(const float*, int64_t, int64_t, int64_t, int64_t, uint16_t*) {
  CHECK(false);
}
void DotProduct(const DotShape&, const DotOperands&) {
  CHECK(false);
}
void PackDotPanel(const uint16_t*, int64_t, int64_t, int64_t, uint16_t*) {
  CHECK(false);
}
void TransposeDotBlock(const uint16_t*, int64_t, int64_t, uint16_t*, int64_t) {
  CHECK(false);
}

}  // namespace tandem::cpu
#endif
