// What the attention kernels do with tiles of bf16 rows (common/tile.h): from global memory and the paged pool to
// swizzled shared memory; and with scores.
#pragma once

#include "../common/tile.h"
#include "../common/types.h"
#include "kv_layout.h"

namespace tandem::kernels {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kInfinity = __builtin_huge_valf();

// head_dim as the kernels' templates know it.
template <typename Fn>
cudaError_t ForHeadDim(int head_dim, Fn&& fn) {
  if (head_dim <= 0 || head_dim > 256 || head_dim % 16 != 0) return cudaErrorInvalidValue;
  if (head_dim <= 64) return fn.template operator()<64>();
  if (head_dim <= 96) return fn.template operator()<96>();
  if (head_dim <= 128) return fn.template operator()<128>();
  return fn.template operator()<256>();
}

// --- filling tiles: by kThreads threads of which the caller is `thread`

// Rows [first, first + kRows) of the packed rows of q: zeros outside of [begin, end) and behind head_dim. With `other`
// the same rows of another tensor (dout) go to the tile behind.
template <int kDim, int kRows, int kThreads>
__device__ __forceinline__ void LoadPackedRows(bf16* tile, const void* rows, const void* other,
                                               const AttentionSpan& span, const KvPool& pool, int group, int kv_head,
                                               int first, int begin, int end, int thread) {
  constexpr int kChunks = kDim / 8;
  ForEach<kRows * kChunks, kThreads, 2>(thread, [&](int i) {
    const int row = i / kChunks, chunk = i % kChunks, packed = first + row;
    const bool valid = packed >= begin && packed < end && chunk * 8 < pool.head_dim;
    const int64_t offset = valid ? PackedOffset(span, pool, group, kv_head, packed) + chunk * 8 : 0;
    bf16* to = tile + TileOffset<kDim>(row, chunk);
    CpAsync16OrZero(to, static_cast<const bf16*>(rows) + offset, valid);
    if (other != nullptr) CpAsync16OrZero(to + kRows * kDim, static_cast<const bf16*>(other) + offset, valid);
  });
}

// Sixteen positions that lie together: the first `there` of them, the others become zeros.
template <int kDim, int kThreads>
__device__ __forceinline__ void LoadPage(bf16* tile, int row, const bf16* from, int there, int head_dim, int thread) {
  constexpr int kChunks = kDim / 8;
  ForEach<kPageGrain * kChunks, kThreads>(thread, [&](int i) {
    const int r = i / kChunks, chunk = i % kChunks;
    const bool valid = r < there && chunk * 8 < head_dim;
    CpAsync16OrZero(tile + TileOffset<kDim>(row + r, chunk), valid ? from + r * head_dim + chunk * 8 : from, valid);
  });
}

// Positions [position, position + kRows) of keys or values, `position` a multiple of 16: zeros from `end` on, where
// the pool may hold anything, and behind head_dim. With `other` the same of the other half go to the tile behind.
template <int kDim, int kRows, int kThreads>
__device__ __forceinline__ void LoadPositions(bf16* tile, const void* half_of_pool, const void* other,
                                              const KvPool& pool, const int32_t* blocks, int kv_head, int position,
                                              int end, int thread) {
  constexpr int kPerPage = kPageGrain * kDim / 8;
  constexpr int kTogether = kThreads >= 2 * kPerPage ? kThreads / kPerPage : 1;  // pages at a time
  static_assert(kTogether == 1 || (kThreads % kPerPage == 0 && kRows % (kTogether * kPageGrain) == 0));
#pragma unroll
  for (int row = 0; row < kRows; row += kTogether * kPageGrain) {
    const int first = kTogether == 1 ? row : row + thread / kPerPage * kPageGrain;
    const int there = end - position - first, within = kTogether == 1 ? thread : thread % kPerPage;
    const int64_t offset = there > 0 ? PositionOffset(pool, blocks, position + first, kv_head) : 0;
    LoadPage<kDim, kThreads / kTogether>(tile, first, static_cast<const bf16*>(half_of_pool) + offset, there,
                                         pool.head_dim, within);
    if (other != nullptr) {
      LoadPage<kDim, kThreads / kTogether>(tile + kRows * kDim, first, static_cast<const bf16*>(other) + offset, there,
                                           pool.head_dim, within);
    }
  }
}

// --- fragments (of tiles: common/tile.h)

// A[16, 16] of two results D[16, 8] side by side: the output of one product becomes the left operand of the next.
__device__ __forceinline__ void FragmentOfResults(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = PackBf16(left[0], left[1]);
  a[1] = PackBf16(left[2], left[3]);
  a[2] = PackBf16(right[0], right[1]);
  a[3] = PackBf16(right[2], right[3]);
}

// --- scores

// What becomes of q.k, made on the host: as a kernel's parameter it costs no registers. A score in units of log 2 is
// factor * Raw(q.k); without a cap the factor folds into the exponent's multiply-add.
struct ScoreScale {
  float scale = 1, soft_cap = 0;  // as AttentionArgs has them
  float factor = kLog2E, inner = 0;

  static ScoreScale Of(float scale, float soft_cap) {
    return {.scale = scale,
            .soft_cap = soft_cap,
            .factor = soft_cap > 0 ? kLog2E : scale * kLog2E,
            .inner = soft_cap > 0 ? 2.0f * kLog2E * scale / soft_cap : 0.0f};
  }
  // tanh(scale * product / soft_cap) by one exponential: absolute error about 2e-7, which a cap of 50 turns into 1e-5
  // of a score.
  __device__ __forceinline__ float Tanh(float product) const {
    return 1.0f - __fdividef(2.0f, Exp2(product * inner) + 1.0f);
  }
  __device__ __forceinline__ float Raw(float product) const {
    return soft_cap > 0 ? soft_cap * Tanh(product) : product;
  }
};

}  // namespace tandem::kernels
