#include "score.h"

#include "../common/launch.h"
#include "candidates.h"

namespace tandem::kernels {
namespace {

// The num_top best into best[], where they are few enough to be candidates: each counts those before it.
template <int kThreads>
__device__ bool RankCandidates(const LogitRow& row, uint32_t own_maximum, int num_top, double log_sum,
                               Candidates& candidates, ScoredToken* best) {
  const uint32_t bound = row.n <= Candidates::kCapacity ? 0 : BoundOfBest<kThreads>(own_maximum, num_top);
  Gather<kThreads>(row, bound, candidates, [](float, int) {});
  if (candidates.count > Candidates::kCapacity) return false;
  ForOwnCandidates<kThreads>(candidates.count, [&](int i, int) {
    const Fixed rank = candidates.rank[i];
    const Fixed place = MassBefore(
        candidates.count, rank, [&](int j) { return candidates.rank[j]; }, [](int) { return Fixed{1}; });
    if (place < static_cast<Fixed>(num_top)) {
      best[place] = {IdOfRank(rank), static_cast<float>(LogitOfRank(rank) - log_sum)};
    }
  });
  return true;
}

// One pass for each of the best: the first after the one before.
template <int kThreads>
__device__ void SearchBest(const LogitRow& row, int num_top, double log_sum, ScoredToken* best) {
  Fixed after = 0;
  for (int place = 0; place < num_top; ++place) {
    Fixed own = ~Fixed{0};
    row.ForOwn<kThreads>([&](float x, int id) {
      const Fixed rank = RankOf(x, id);
      if (x > -INFINITY && (place == 0 || rank > after)) own = Min()(own, rank);
    });
    after = BlockTotal<kThreads>(own, Min(), ~Fixed{0});
    if (after == ~Fixed{0}) return;
    if (threadIdx.x == 0) best[place] = {IdOfRank(after), static_cast<float>(LogitOfRank(after) - log_sum)};
  }
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) ScoreKernel(ScoreArgs args) {
  __shared__ Candidates candidates;
  const ScoreRow of = args.rows[blockIdx.x];
  const LogitRow row = {of.logits, args.vocab};
  ScoredToken* scores = args.scores + static_cast<int64_t>(blockIdx.x) * (1 + args.max_top);
  for (int i = threadIdx.x; i < 1 + args.max_top; i += kThreads) scores[i] = {-1, 0};
  const int32_t token = args.ids == nullptr ? of.token : args.ids[of.token];
  const RowMaximum maximum = FindMaximum<kThreads>(row);
  if (!maximum.finite || maximum.max == -INFINITY || token < 0) return;
  Fixed sum = 0;
  row.ForOwn<kThreads>([&](float x, int) { sum += ToFixed(expf(x - maximum.max)); });
  sum = BlockTotal<kThreads>(sum);
  const double log_sum = maximum.max + log(static_cast<double>(sum) * 0x1p-44);
  __syncthreads();
  if (threadIdx.x == 0) scores[0] = {token, static_cast<float>(row.x[token] - log_sum)};
  if (of.num_top == 0) return;
  if (RankCandidates<kThreads>(row, maximum.own, of.num_top, log_sum, candidates, scores + 1)) return;
  SearchBest<kThreads>(row, of.num_top, log_sum, scores + 1);
}

}  // namespace

cudaError_t LaunchScore(const ScoreArgs& args, cudaStream_t stream) {
  if (args.vocab > kMaxVocab) return cudaErrorInvalidValue;
  constexpr int kThreads = 512;
  return Launch(ScoreKernel<kThreads>,
                {.grid = static_cast<unsigned>(args.num_rows), .block = kThreads, .stream = stream}, args);
}

}  // namespace tandem::kernels
