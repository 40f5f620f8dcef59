// Truncation and draw among a row's candidates in shared memory. Whether a token stays depends on the mass of those
// that come before it in an order; each thread adds that up for its own tokens.
#pragma once

#include "block.h"
#include "draw.h"

namespace tandem::kernels {

// The sum of weight(i) over the candidates that come before `rank` in the order by rank(i).
template <typename Rank, typename Weight>
__device__ __forceinline__ Fixed MassBefore(int count, Fixed rank, Rank&& rank_of, Weight&& weight_of) {
  Fixed mass = 0;
#pragma unroll 4
  for (int i = 0; i < count; ++i) mass += rank_of(i) < rank ? weight_of(i) : 0;
  return mass;
}

// fn(i, slot) for this thread's candidates; slot numbers them within the thread.
template <int kThreads, typename Fn>
__device__ __forceinline__ void ForOwnCandidates(int count, Fn&& fn) {
#pragma unroll 1
  for (int i = threadIdx.x, slot = 0; i < count; i += kThreads, ++slot) fn(i, slot);
}

template <int kThreads>
__device__ __forceinline__ Fixed MassOf(const Candidates& all) {
  Fixed mass = 0;
  ForOwnCandidates<kThreads>(all.count, [&](int i, int) { mass += all.weight[i]; });
  return BlockTotal<kThreads>(mass);
}

// Leaves out what drop(i) names. All decide before any is left out.
template <int kThreads, typename Drop>
__device__ __forceinline__ void DropWhere(Candidates& all, Drop&& drop) {
  uint32_t dropped = 0;  // bit: slot
  static_assert(Candidates::kCapacity / kThreads <= 32);
  ForOwnCandidates<kThreads>(all.count, [&](int i, int slot) { dropped |= (drop(i) ? 1u : 0u) << slot; });
  __syncthreads();
  ForOwnCandidates<kThreads>(all.count, [&](int i, int slot) {
    if (dropped >> slot & 1) all.weight[i] = 0;
  });
  __syncthreads();
}

// How far a token's surprise is from the entropy (Meister et al. 2023), as a rank; log_mass and entropy are of what is
// left.
__device__ __forceinline__ double SurpriseOf(Fixed weight, double log_mass) {
  return log_mass - log(static_cast<double>(weight));
}
__device__ __forceinline__ Fixed TypicalRank(Fixed weight, int32_t id, double log_mass, double entropy) {
  const float surprise = static_cast<float>(SurpriseOf(weight, log_mass));
  return RankBy(OrderOf(fabsf(surprise - static_cast<float>(entropy))), id);
}
// A token's share of the entropy in multiples of 2^-40, which add up exactly.
__device__ __forceinline__ Fixed EntropyShare(Fixed weight, Fixed mass, double log_mass) {
  const double share = SurpriseOf(weight, log_mass) * static_cast<double>(weight) / static_cast<double>(mass);
  return static_cast<Fixed>(share > 0 ? share * 0x1p40 : 0);
}
__device__ __forceinline__ double EntropyOf(Fixed shares) {
  return static_cast<double>(shares) * 0x1p-40;
}

template <int kThreads>
__device__ __forceinline__ void KeepTypical(Candidates& all, float typical_p) {
  const Fixed mass = MassOf<kThreads>(all);
  const double log_mass = log(static_cast<double>(mass));
  Fixed shares = 0;
  ForOwnCandidates<kThreads>(all.count, [&](int i, int) {
    if (all.weight[i] > 0) shares += EntropyShare(all.weight[i], mass, log_mass);
  });
  const double entropy = EntropyOf(BlockTotal<kThreads>(shares));
  // From here on candidates are ranked by how typical they are.
  ForOwnCandidates<kThreads>(all.count, [&](int i, int) {
    const int32_t id = IdOfRank(all.rank[i]);
    all.rank[i] = all.weight[i] > 0 ? TypicalRank(all.weight[i], id, log_mass, entropy) : RankBy(~0u, id);
  });
  __syncthreads();
  const Fixed target = ShareOf(mass, typical_p);
  DropWhere<kThreads>(all, [&](int i) {
    return MassBefore(
               all.count, all.rank[i], [&](int j) { return all.rank[j]; }, [&](int j) { return all.weight[j]; }) >=
           target;
  });
}

// Candidates hold all that top_k and top_p leave. mass: of the whole row, where there is no top_k.
template <int kThreads>
__device__ __forceinline__ int32_t DrawFromCandidates(Candidates& all, const DrawRequest& request, Fixed mass) {
  const auto rank_of = [&](int i) { return all.rank[i]; };
  const auto weight_of = [&](int i) { return all.weight[i]; };
  if (request.top_k > 0) {
    DropWhere<kThreads>(all, [&](int i) {
      return MassBefore(all.count, all.rank[i], rank_of, [](int) { return Fixed{1}; }) >=
             static_cast<Fixed>(request.top_k);
    });
    mass = MassOf<kThreads>(all);
  }
  if (request.top_p < 1) {
    const Fixed target = ShareOf(mass, request.top_p);
    DropWhere<kThreads>(all, [&](int i) { return MassBefore(all.count, all.rank[i], rank_of, weight_of) >= target; });
  }
  if (request.min_p > 0) {
    const Fixed least = ToFixed(request.min_p);  // of the largest, which is 1
    DropWhere<kThreads>(all, [&](int i) { return all.weight[i] < least; });
  }
  if (request.typical_p < 1) KeepTypical<kThreads>(all, request.typical_p);

  const Fixed drawn = DrawOf(request.uniform, MassOf<kThreads>(all));
  __shared__ int32_t token;
  ForOwnCandidates<kThreads>(all.count, [&](int i, int) {
    const int32_t id = IdOfRank(all.rank[i]);
    const Fixed before = MassBefore(
        all.count, static_cast<Fixed>(id), [&](int j) { return static_cast<Fixed>(IdOfRank(all.rank[j])); }, weight_of);
    if (before <= drawn && drawn < before + all.weight[i]) token = id;
  });
  __syncthreads();
  return token;
}

}  // namespace tandem::kernels
