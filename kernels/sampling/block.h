// What the sampling kernels share: passes over a row of logits by one block, sums that no order of addition changes,
// and the few best of a row without sorting it.
//
// Probabilities are summed in fixed point: whole multiples of 2^-44, exact in 64 bits for up to 2^18 tokens. So threads
// may add them up in any order, and which token is drawn does not depend on how the row was divided among them.
#pragma once

#include <cuda_runtime.h>

#include "../common/reduce.h"
#include "../common/vector.h"
#include "../order.h"

namespace tandem::kernels {

inline constexpr int kVocabBits = 18;
inline constexpr int kMaxVocab = 1 << kVocabBits;

using Fixed = unsigned long long;

__host__ __device__ __forceinline__ Fixed ToFixed(float weight) {  // in [0, 1]
  return static_cast<Fixed>(weight * 0x1p44f);
}

// Tokens in the order in which they are kept, the best first: a smaller number comes first. By rising `order`, then by
// id.
__host__ __device__ __forceinline__ Fixed RankBy(uint32_t order, int32_t id) {
  return static_cast<Fixed>(order) << kVocabBits | static_cast<Fixed>(id);
}
__host__ __device__ __forceinline__ Fixed RankOf(float logit, int32_t id) {
  return RankBy(~OrderOf(logit), id);
}
__host__ __device__ __forceinline__ float LogitOfRank(Fixed rank) {
  return FromOrder(~static_cast<uint32_t>(rank >> kVocabBits));
}
__host__ __device__ __forceinline__ int32_t IdOfRank(Fixed rank) {
  return static_cast<int32_t>(rank & (kMaxVocab - 1));
}
// The mass that must be reached for `share` of it; at least one, so that the best token is always kept.
__host__ __device__ __forceinline__ Fixed ShareOf(Fixed mass, float share) {
  const Fixed target = static_cast<Fixed>(ceil(static_cast<double>(share) * static_cast<double>(mass)));
  return target < 1 ? 1 : target;
}
// Where a draw of u in [0, 1) falls within `mass` > 0.
__host__ __device__ __forceinline__ Fixed DrawOf(double u, Fixed mass) {
  const Fixed drawn = static_cast<Fixed>(u * static_cast<double>(mass));
  return drawn < mass ? drawn : mass - 1;
}

// Over a block; every thread receives the result. Two barriers.
template <int kThreads, typename T, typename Combine>
__device__ __forceinline__ T BlockTotal(T value, Combine combine, T none) {
  value = WarpReduce(value, combine);
  if constexpr (kThreads > kWarpSize) {
    __shared__ T of_warps[kThreads / kWarpSize];
    __syncthreads();
    if (threadIdx.x % kWarpSize == 0) of_warps[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    const int lane = threadIdx.x % kWarpSize;
    value = WarpReduce(lane < kThreads / kWarpSize ? of_warps[lane] : none, combine);
  }
  return value;
}
template <int kThreads>
__device__ __forceinline__ Fixed BlockTotal(Fixed value) {
  return BlockTotal<kThreads>(value, Sum(), Fixed{0});
}

// A row of logits. fn(logit, id) for each of this thread's: groups of four neighbours, kThreads groups apart.
struct LogitRow {
  const float* x;
  int n;

  template <int kThreads, typename Fn>
  __device__ __forceinline__ void ForOwn(Fn&& fn) const {
    const bool aligned = CanVectorize(x, 0);
#pragma unroll 4
    for (int i = threadIdx.x * 4; i < n; i += kThreads * 4) {
      float values[4];
      if (aligned && i + 4 <= n) {
        Load(x + i, values);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) values[j] = i + j < n ? x[i + j] : -INFINITY;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (i + j < n) fn(values[j], i + j);
      }
    }
  }
  // The same, one by one: for long functions.
  template <int kThreads, typename Fn>
  __device__ __forceinline__ void ForOwnOneByOne(Fn&& fn) const {
#pragma unroll 1
    for (int i = threadIdx.x; i < n; i += kThreads) fn(x[i], i);
  }
};

struct RowMaximum {
  uint32_t own = 0;     // order of this thread's largest logit; 0: it has none
  float max = 0;        // of the row
  int32_t id = 0;       // the first that is the maximum
  bool finite = false;  // no NaN and no +inf in the row
};

template <int kThreads>
__device__ __forceinline__ RowMaximum FindMaximum(const LogitRow& row) {
  uint64_t own = 0;
  bool bad = false;
  row.ForOwn<kThreads>([&](float x, int id) {
    bad = bad || !(x < INFINITY);
    own = Max()(own, BestOrder(x, static_cast<uint32_t>(id)));
  });
  bad = __syncthreads_or(bad);
  const uint64_t best = BlockTotal<kThreads>(own, Max(), uint64_t{0});
  return {static_cast<uint32_t>(own >> 32), FromOrder(static_cast<uint32_t>(best >> 32)),
          static_cast<int32_t>(IndexOfBest(best)), !bad};
}

// Some of the best tokens of a row, in no particular order.
struct Candidates {
  static constexpr int kCapacity = 1024;
  Fixed rank[kCapacity];    // RankOf
  Fixed weight[kCapacity];  // 0: left out
  int count;                // more than kCapacity: they did not fit
};

// The k-th largest of the threads' own maxima is no larger than the k-th largest logit, and where the best tokens are
// spread evenly not many lie above it. So what is at least as large holds the k best, mostly in little more than k
// tokens. 0 where there are fewer than k threads with a token.
template <int kThreads>
__device__ __forceinline__ uint32_t BoundOfBest(uint32_t own_maximum, int k) {
  uint32_t bound = 0;
  for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (__syncthreads_count(own_maximum >= (bound | bit)) >= k) bound |= bit;
  }
  return bound;
}

// Gathers all tokens whose order is at least `bound` and above -inf. `each(logit, id)` sees every token of the row.
// Barriers before and after.
template <int kThreads, typename Each>
__device__ __forceinline__ void Gather(const LogitRow& row, uint32_t bound, Candidates& candidates, Each&& each) {
  __syncthreads();
  if (threadIdx.x == 0) candidates.count = 0;
  __syncthreads();
  row.ForOwn<kThreads>([&](float x, int id) {
    each(x, id);
    if (OrderOf(x) < bound || x == -INFINITY) return;
    const int slot = atomicAdd(&candidates.count, 1);
    if (slot < Candidates::kCapacity) candidates.rank[slot] = RankOf(x, id);
  });
  __syncthreads();
}

}  // namespace tandem::kernels
