// The micro kernel, compiled once per instruction set by the files that include it (Highway's *-inl.h convention).
#if defined(TANDEM_BACKEND_CPU_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_BACKEND_CPU_GEMM_INL_H_
#undef TANDEM_BACKEND_CPU_GEMM_INL_H_
#else
#define TANDEM_BACKEND_CPU_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backend/cpu/gemm.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Vf = hn::CappedTag<float, 16>;  // at most one panel wide
inline constexpr int kLanes = HWY_MIN(16, HWY_LANES(float));
inline constexpr int kVectors = 16 / kLanes;  // vectors per panel row

// Rows of the register tile: 6 x 2 vectors of 8 use 12 of AVX2's 16 registers, 12 x 1 of 16 the same share of
// AVX-512's.
inline constexpr int kTileRows = kLanes >= 16 ? 12 : 6;

HWY_INLINE hn::Vec<Vf> LoadB(Vf d, const float* b) {
  return hn::LoadU(d, b);
}
HWY_INLINE hn::Vec<Vf> LoadB(Vf d, const hwy::bfloat16_t* b) {
  const hn::Rebind<hwy::bfloat16_t, Vf> db;
  return hn::PromoteTo(d, hn::LoadU(db, b));
}

// C tile [ROWS, PANELS * 16] (+)= A [ROWS, k] B [k, PANELS * 16]. Reads and writes whole panels of C.
template <int ROWS, int PANELS, typename T>
HWY_INLINE void Micro(int64_t k, const float* HWY_RESTRICT a, int64_t a_row, int64_t a_k, const T* HWY_RESTRICT b,
                      int64_t b_k, int64_t b_panel, float* HWY_RESTRICT c, int64_t c_row, bool accumulate) {
  constexpr int kColumns = PANELS * kVectors;
  const Vf d;
  hn::Vec<Vf> sum[ROWS][kColumns];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      sum[r][j] = accumulate ? hn::LoadU(d, c + r * c_row + j * kLanes) : hn::Zero(d);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    hn::Vec<Vf> column[kColumns];
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      const T* from = b + (j / kVectors) * b_panel + (j % kVectors) * kLanes;
      column[j] = LoadB(d, from);
      // A few KiB ahead of the stream; the decode step is bound by reading weights.
      if (PANELS > 1 && j % kVectors == 0) hwy::Prefetch(from + 40 * b_k);
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const auto x = hn::Set(d, a[r * a_row]);
#pragma GCC unroll 16
      for (int j = 0; j < kColumns; ++j) sum[r][j] = hn::MulAdd(x, column[j], sum[r][j]);
    }
    a += a_k;
    b += b_k;
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) hn::StoreU(sum[r][j], d, c + r * c_row + j * kLanes);
  }
}

// Any number of rows up to kTileRows, one panel.
template <typename T>
HWY_INLINE void MicroRows(int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k,
                          float* c, int64_t c_row, bool accumulate) {
#define TANDEM_ROWS(N)                                              \
  case N:                                                           \
    Micro<N, 1>(k, a, a_row, a_k, b, b_k, 0, c, c_row, accumulate); \
    return;
  switch (rows) {
    TANDEM_ROWS(1)
    TANDEM_ROWS(2)
    TANDEM_ROWS(3)
    TANDEM_ROWS(4)
    TANDEM_ROWS(5)
    TANDEM_ROWS(6)
#if HWY_TARGET <= HWY_AVX3
    TANDEM_ROWS(7)
    TANDEM_ROWS(8)
    TANDEM_ROWS(9)
    TANDEM_ROWS(10)
    TANDEM_ROWS(11)
    TANDEM_ROWS(12)
#endif
  }
#undef TANDEM_ROWS
}

// The same for any number of rows: tile after tile.
template <typename T>
HWY_INLINE void PanelProduct(int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_k, const T* b,
                             int64_t b_k, float* c, int64_t c_row, bool accumulate) {
  for (int64_t r = 0; r < rows; r += kTileRows) {
    MicroRows(std::min<int64_t>(kTileRows, rows - r), k, a + r * a_row, a_row, a_k, b, b_k, c + r * c_row, c_row,
              accumulate);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#endif
