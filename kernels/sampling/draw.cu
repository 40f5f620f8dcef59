#include "draw.h"

#include "../common/launch.h"
#include "candidates.h"

namespace tandem::kernels {
namespace {

constexpr int32_t kToBeSearched = -3;  // in the place of an id, between the two kernels

// What temperature makes of a logit, relative to the largest. A division: the reciprocal of the smallest temperatures
// is infinite.
struct Weights {
  float max, temperature;
  __device__ __forceinline__ Fixed operator()(float logit) const { return ToFixed(expf((logit - max) / temperature)); }
};

// What the cuts leave of a row that is searched as a whole.
struct Kept {
  Fixed last = ~Fixed{0};          // rank by logit
  Fixed least = 1;                 // weight
  Fixed last_typical = ~Fixed{0};  // rank by typicality, where there is that cut
  double log_mass = 0, entropy = 0;

  __device__ __forceinline__ Fixed WeightOf(const Weights& weights, float logit, int32_t id) const {
    if (RankOf(logit, id) > last) return 0;
    const Fixed weight = weights(logit);
    if (weight < least) return 0;
    if (last_typical == ~Fixed{0}) return weight;
    return TypicalRank(weight, id, log_mass, entropy) > last_typical ? 0 : weight;
  }
};

// The smallest rank such that the tokens up to it have `target` of measure(logit, id, &rank); all bits set where there
// is none. Three pivots a pass: each leaves a quarter.
template <int kThreads, typename Measure>
__device__ __forceinline__ Fixed SearchRank(const LogitRow& row, Fixed target, Measure&& measure) {
  Fixed low = 0, high = (Fixed{1} << (32 + kVocabBits)) - 1;
  bool reached = false;
  while (low < high) {
    const Fixed step = (high - low) / 4;
    const Fixed pivots[3] = {low + step, low + 2 * step, low + 3 * step};
    Fixed sums[3] = {};
    row.ForOwnOneByOne<kThreads>([&](float x, int id) {
      Fixed rank;
      const Fixed amount = measure(x, id, &rank);
#pragma unroll
      for (int i = 0; i < 3; ++i) sums[i] += rank <= pivots[i] ? amount : 0;
    });
#pragma unroll
    for (int i = 0; i < 3; ++i) sums[i] = BlockTotal<kThreads>(sums[i]);
#pragma unroll
    for (int i = 2; i >= 0; --i) {
      if (sums[i] < target) {
        low = pivots[i] + 1;
        break;
      }
      high = pivots[i];
      reached = true;
    }
  }
  return reached ? low : ~Fixed{0};
}

template <int kThreads>
__device__ __forceinline__ Fixed MassOfRow(const LogitRow& row, const Weights& weights, const Kept& kept) {
  Fixed mass = 0;
  row.ForOwnOneByOne<kThreads>([&](float x, int id) { mass += kept.WeightOf(weights, x, id); });
  return BlockTotal<kThreads>(mass);
}

template <int kThreads>
__device__ __forceinline__ void KeepTypicalOfRow(const LogitRow& row, const Weights& weights, float typical_p,
                                                 Kept& kept) {
  const Fixed mass = MassOfRow<kThreads>(row, weights, kept);
  const double log_mass = log(static_cast<double>(mass));
  Fixed shares = 0;
  row.ForOwnOneByOne<kThreads>([&](float x, int id) {
    const Fixed weight = kept.WeightOf(weights, x, id);
    if (weight > 0) shares += EntropyShare(weight, mass, log_mass);
  });
  const double entropy = EntropyOf(BlockTotal<kThreads>(shares));
  const Fixed last = SearchRank<kThreads>(row, ShareOf(mass, typical_p), [&](float x, int id, Fixed* rank) {
    const Fixed weight = kept.WeightOf(weights, x, id);
    *rank = weight > 0 ? TypicalRank(weight, id, log_mass, entropy) : 0;
    return weight;
  });
  kept.last_typical = last;
  kept.log_mass = log_mass;
  kept.entropy = entropy;
}

template <int kThreads>
__device__ __forceinline__ Kept SearchRow(const LogitRow& row, const Weights& weights, const DrawRequest& request) {
  Kept kept;
  if (request.top_k > 0) {
    kept.last = SearchRank<kThreads>(row, request.top_k, [&](float x, int id, Fixed* rank) {
      *rank = RankOf(x, id);
      return Fixed{1};
    });
  }
  if (request.top_p < 1) {
    const Fixed target = ShareOf(MassOfRow<kThreads>(row, weights, kept), request.top_p);
    kept.last = SearchRank<kThreads>(row, target, [&](float x, int id, Fixed* rank) {
      *rank = RankOf(x, id);
      return kept.WeightOf(weights, x, id);
    });
  }
  if (request.min_p > 0) kept.least = Max()(Fixed{1}, ToFixed(request.min_p));
  if (request.typical_p < 1) KeepTypicalOfRow<kThreads>(row, weights, request.typical_p, kept);
  return kept;
}

// Sums of all threads before this one.
template <int kThreads>
__device__ __forceinline__ Fixed SumBefore(Fixed own) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  Fixed up_to = own;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const Fixed other = __shfl_up_sync(kAllLanes, up_to, offset);
    if (lane >= offset) up_to += other;
  }
  if constexpr (kThreads == kWarpSize) return up_to - own;
  __shared__ Fixed of_warps[kThreads / kWarpSize];
  __syncthreads();
  if (lane == kWarpSize - 1) of_warps[warp] = up_to;
  __syncthreads();
  Fixed before = up_to - own;
  for (int i = 0; i < warp; ++i) before += of_warps[i];
  return before;
}

// In the order of ids: first which warp's part of the row it falls into, then where within that part.
template <int kThreads>
__device__ __forceinline__ int32_t DrawFromRow(const LogitRow& row, const Weights& weights, const Kept& kept,
                                               double uniform) {
  constexpr int kWarps = kThreads / kWarpSize;
  __shared__ Fixed of_parts[kWarps];
  __shared__ int32_t token;
  const int part_size = CeilDiv(row.n, kWarps), lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  Fixed own = 0;
#pragma unroll 2
  for (int i = lane; i < part_size; i += kWarpSize) {
    const int id = warp * part_size + i;
    if (id < row.n) own += kept.WeightOf(weights, row.x[id], id);
  }
  own = WarpSum(own);
  __syncthreads();
  if (lane == 0) of_parts[warp] = own;
  __syncthreads();
  Fixed mass = 0;
  for (int i = 0; i < kWarps; ++i) mass += of_parts[i];
  Fixed drawn = DrawOf(uniform, mass);
  int part = 0;
  for (; drawn >= of_parts[part]; ++part) drawn -= of_parts[part];

  const int chunk = CeilDiv(part_size, kThreads);
  const int first = part * part_size + static_cast<int>(threadIdx.x) * chunk;
  const int part_end = Min()(row.n, (part + 1) * part_size), end = Min()(part_end, first + chunk);
  Fixed sum = 0;
  for (int id = first; id < end; ++id) sum += kept.WeightOf(weights, row.x[id], id);
  Fixed before = SumBefore<kThreads>(sum);
  if (before <= drawn && drawn < before + sum) {
    for (int id = first; id < end; ++id) {
      const Fixed weight = kept.WeightOf(weights, row.x[id], id);
      if (drawn < before + weight) {
        token = id;
        break;
      }
      before += weight;
    }
  }
  __syncthreads();
  return token;
}

// Candidates that hold all that the cuts will leave; false where there are too many.
template <int kThreads>
__device__ __forceinline__ bool FindCandidates(const LogitRow& row, const Weights& weights, const DrawRequest& request,
                                               const RowMaximum& maximum, Candidates& candidates, Fixed* mass) {
  constexpr int kFirstGuess = 256;  // tokens that mostly hold the share of top_p
  const int wanted = request.top_k > 0 ? request.top_k : kFirstGuess;
  const uint32_t bound = row.n <= Candidates::kCapacity ? 0 : BoundOfBest<kThreads>(maximum.own, wanted);
  Fixed own_mass = 0;
  Gather<kThreads>(row, bound, candidates, [&](float x, int) {
    if (request.top_k == 0) own_mass += weights(x);
  });
  *mass = BlockTotal<kThreads>(own_mass);
  if (candidates.count > Candidates::kCapacity) return false;
  for (int i = threadIdx.x; i < candidates.count; i += kThreads) {
    candidates.weight[i] = weights(LogitOfRank(candidates.rank[i]));
  }
  __syncthreads();
  if (request.top_k > 0) return true;
  return MassOf<kThreads>(candidates) >= (request.top_p < 1 ? ShareOf(*mass, request.top_p) : *mass);
}

__device__ void Answer(const DrawArgs& args, int32_t id) {
  args.ids[blockIdx.x] = id;
  if (args.kept != nullptr) args.kept[blockIdx.x] = id;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) DrawKernel(DrawArgs args) {
  __shared__ Candidates candidates;
  const LogitRow row = {args.logits + static_cast<int64_t>(blockIdx.x) * args.vocab, args.vocab};
  DrawRequest request = args.requests[blockIdx.x];
  const RowMaximum maximum = FindMaximum<kThreads>(row);
  const bool finite = maximum.finite && (!request.has_rules || args.finite[blockIdx.x]);
  int32_t id = kDrawNotFinite;
  if (request.top_k >= args.vocab) request.top_k = 0;
  if (finite && maximum.max == -INFINITY) {
    id = kDrawNothingLeft;
  } else if (finite && (request.temperature == 0 || request.top_k == 1)) {
    id = maximum.id;
  } else if (finite) {
    const Weights weights = {maximum.max, request.temperature};
    const bool truncates = request.top_k > 0 || request.top_p < 1 || request.typical_p < 1;
    Fixed mass = 0;
    if (!truncates) {
      Kept kept;
      kept.least = Max()(kept.least, ToFixed(request.min_p));
      id = DrawFromRow<kThreads>(row, weights, kept, request.uniform);
    } else if (FindCandidates<kThreads>(row, weights, request, maximum, candidates, &mass)) {
      id = DrawFromCandidates<kThreads>(candidates, request, mass);
    } else {
      id = kToBeSearched;
    }
  }
  if (threadIdx.x == 0) Answer(args, id);
}

// The rows that had too many candidates. A kernel of its own, so that its registers are not the others'.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) DrawBySearchKernel(DrawArgs args) {
  if (args.ids[blockIdx.x] != kToBeSearched) return;
  const LogitRow row = {args.logits + static_cast<int64_t>(blockIdx.x) * args.vocab, args.vocab};
  DrawRequest request = args.requests[blockIdx.x];
  if (request.top_k >= args.vocab) request.top_k = 0;
  const Weights weights = {FindMaximum<kThreads>(row).max, request.temperature};
  const Kept kept = SearchRow<kThreads>(row, weights, request);
  const int32_t id = DrawFromRow<kThreads>(row, weights, kept, request.uniform);
  if (threadIdx.x == 0) Answer(args, id);
}

}  // namespace

cudaError_t LaunchDraw(const DrawArgs& args, cudaStream_t stream) {
  if (args.vocab > kMaxVocab) return cudaErrorInvalidValue;
  constexpr int kSmallVocab = 1024, kThreads = 512;
  LaunchConfig config = {.grid = static_cast<unsigned>(args.rows), .block = kThreads, .stream = stream};
  if (args.vocab <= kSmallVocab) {  // all of them may be candidates
    config.block = kWarpSize;
    return Launch(DrawKernel<kWarpSize>, config, args);
  }
  const cudaError_t error = Launch(DrawKernel<kThreads>, config, args);
  return error != cudaSuccess ? error : Launch(DrawBySearchKernel<kThreads>, config, args);
}

}  // namespace tandem::kernels
