#include "backend/cpu/attention_dot.h"

#include "backend/cpu/kv_layout.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's own _mm512_undefined_epi32
#endif
#include <immintrin.h>

#include <cstring>

#include "hwy/base.h"

HWY_PUSH_ATTRIBUTES("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace tandem::cpu {
namespace {

// Sums in flight hide a latency of six cycles: at most 12 rows by two blocks of keys, or 6 rows by 64 of head_dim.
constexpr int kScoreRows = 12, kValueRows = 6;
// All rows of the tile go over this many blocks before the next: 128 KiB of keys or values at a head_dim of 64, in L2.
constexpr int kSpan = 64;
constexpr int64_t kLine = 64;

__m512bh Bits(__m512i x) {
  return reinterpret_cast<__m512bh>(x);
}

__m512bh BroadcastPair(const uint16_t* x) {
  int pair;
  std::memcpy(&pair, x, sizeof(pair));
  return Bits(_mm512_set1_epi32(pair));
}

// `count` floats to bf16, to nearest even; a multiple of 16.
void Round(const float* x, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; i += 16) {
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(x + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), reinterpret_cast<__m256i>(rounded));
  }
}

// fn.template operator()<N>() for the N = n in [1, MAX].
template <int MAX, typename Fn>
void WithCount(int64_t n, Fn&& fn) {
  if constexpr (MAX > 1) {
    if (n < MAX) return WithCount<MAX - 1>(n, fn);
  }
  fn.template operator()<MAX>();
}

struct Strided {
  const uint16_t* data;
  int64_t row;
};

// BLOCKS blocks of sixteen keys: scores [ROWS, 16] each, at scores + 16 * block. ahead: what is fetched meanwhile.
template <int ROWS, int BLOCKS>
void ScoreBlocks(int64_t pairs, Strided q, const uint16_t* const* keys, const uint16_t* const* ahead, float* scores,
                 int64_t stride) {
  __m512 sum[ROWS][BLOCKS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 2
    for (int b = 0; b < BLOCKS; ++b) sum[r][b] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < pairs; ++i) {
    __m512bh key[BLOCKS];
#pragma GCC unroll 2
    for (int b = 0; b < BLOCKS; ++b) {
      key[b] = Bits(_mm512_loadu_si512(keys[b] + i * 2 * kKvBlock));
      _mm_prefetch(reinterpret_cast<const char*>(ahead[b]) + i * kLine, _MM_HINT_T0);
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const __m512bh x = BroadcastPair(q.data + r * q.row + 2 * i);
#pragma GCC unroll 2
      for (int b = 0; b < BLOCKS; ++b) sum[r][b] = _mm512_dpbf16_ps(sum[r][b], x, key[b]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 2
    for (int b = 0; b < BLOCKS; ++b) _mm512_storeu_ps(scores + r * stride + b * kKvBlock, sum[r][b]);
  }
}

// out [ROWS, 16 * VECTORS] += p [ROWS, count] V over the positions of blocks [0, count / 16). Of an odd last pair only
// the first position counts: what lies behind it belongs to nobody and may hold anything.
template <int ROWS, int VECTORS>
void ValueBlocks(int64_t count, int64_t dim, Strided p, const uint16_t* const* values, int64_t offset, float* out) {
  __m512 sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) sum[r][j] = _mm512_loadu_ps(out + r * dim + 16 * j);
  }
  for (int64_t first = 0; first < count; first += kKvBlock) {
    const int64_t positions = std::min<int64_t>(kKvBlock, count - first);
    const uint16_t* row = values[first / kKvBlock] + 2 * offset;
    for (int64_t i = 0; i < positions; i += 2, row += 2 * dim) {
      const __mmask32 valid = i + 1 < positions ? 0xFFFFFFFF : 0x55555555;
      __m512bh value[VECTORS];
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; ++j) value[j] = Bits(_mm512_maskz_loadu_epi16(valid, row + 32 * j));
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) {
        const __m512bh x = BroadcastPair(p.data + r * p.row + first + i);
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; ++j) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], x, value[j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) _mm512_storeu_ps(out + r * dim + 16 * j, sum[r][j]);
  }
}

// The blocks of the tile's KV head, kSpan at a time: fn(first position, positions, blocks). blocks has two more entries
// than there are blocks, for fetching ahead.
template <typename Fn>
void ForSpans(const AttentionTile& tile, const void* pool, Fn&& fn) {
  const int end = tile.first_position + tile.num_tokens;
  const uint16_t* blocks[kSpan + 2];
  for (int first = BeginOf(tile); first < end; first += kSpan * kKvBlock) {
    const int positions = std::min(kSpan * kKvBlock, end - first), num_blocks = (positions + kKvBlock - 1) / kKvBlock;
    for (int i = 0; i < num_blocks; ++i) {
      blocks[i] =
          static_cast<const uint16_t*>(pool) + KvHeadOffset(*tile.kv, tile.blocks[first / kKvBlock + i], tile.kv_head);
    }
    blocks[num_blocks] = blocks[num_blocks + 1] = blocks[num_blocks - 1];
    fn(first, positions, blocks);
  }
}

// fn.template operator()<ROWS>(first row) over [0, rows) in even parts of at most MAX.
template <int MAX, typename Fn>
void ForRows(int64_t rows, Fn&& fn) {
  const int64_t parts = (rows + MAX - 1) / MAX;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t first = rows * part / parts, count = rows * (part + 1) / parts - first;
    WithCount<MAX>(count, [&]<int ROWS>() { fn.template operator()<ROWS>(first); });
  }
}

}  // namespace

void DotScores(const AttentionTile& tile) {
  const int64_t dim = tile.kv->head_dim, rows = static_cast<int64_t>(tile.num_tokens) * tile.group;
  Round(tile.q, rows * dim, tile.rounded_q);
  ForSpans(tile, tile.kv->keys, [&](int first, int positions, const uint16_t* const* blocks) {
    ForRows<kScoreRows>(rows, [&]<int ROWS>(int64_t row) {
      const Strided q{tile.rounded_q + row * dim, dim};
      float* scores = tile.scores + row * tile.score_stride + first;
      int b = 0;
      const int num_blocks = (positions + kKvBlock - 1) / kKvBlock;
      for (; b + 2 <= num_blocks; b += 2) {
        ScoreBlocks<ROWS, 2>(dim / 2, q, blocks + b, blocks + b + 2, scores + b * kKvBlock, tile.score_stride);
      }
      if (b < num_blocks) {
        ScoreBlocks<ROWS, 1>(dim / 2, q, blocks + b, blocks + b + 1, scores + b * kKvBlock, tile.score_stride);
      }
    });
  });
}

void DotValues(const AttentionTile& tile) {
  const int64_t dim = tile.kv->head_dim, rows = static_cast<int64_t>(tile.num_tokens) * tile.group;
  const int begin = BeginOf(tile), end = tile.first_position + tile.num_tokens;
  const int64_t padded = (end - begin + kKvBlock - 1) / kKvBlock * kKvBlock;
  for (int64_t row = 0; row < rows; ++row) {
    Round(tile.scores + row * tile.score_stride + begin, padded, tile.rounded_scores + row * tile.score_stride + begin);
  }
  std::memset(tile.out, 0, rows * dim * sizeof(float));
  ForSpans(tile, tile.kv->values, [&](int first, int positions, const uint16_t* const* blocks) {
    ForRows<kValueRows>(rows, [&]<int ROWS>(int64_t row) {
      const Strided p{tile.rounded_scores + row * tile.score_stride + first, tile.score_stride};
      float* out = tile.out + row * dim;
      for (int64_t d = 0; d < dim;) {
        const auto part = [&]<int VECTORS>() {
          ValueBlocks<ROWS, VECTORS>(positions, dim, p, blocks, d, out + d);
          d += 16 * VECTORS;
        };
        WithCount<4>(std::min<int64_t>(4, (dim - d) / 16), part);
      }
    });
  });
}

}  // namespace tandem::cpu
HWY_POP_ATTRIBUTES

#else
#include "base/check.h"

namespace tandem::cpu {

void DotScores(const AttentionTile&) {
  CHECK(false);
}
void DotValues(const AttentionTile&) {
  CHECK(false);
}

}  // namespace tandem::cpu
#endif
