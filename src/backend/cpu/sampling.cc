#include <algorithm>
#include <cmath>
#include <numeric>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): one draw in [0, 1) that depends on (seed, index) alone, so a request gives the
// same tokens whatever runs beside it.
double Uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

// The first candidate at which the running sum passes u times the total; where rounding keeps it from getting there,
// the last one of any weight.
int32_t Draw(const float* weights, const int32_t* ids, int64_t count, double total, double u) {
  double sum = 0;
  int32_t drawn = -1;
  for (int64_t i = 0; i < count && sum <= u * total; ++i) {
    const int32_t id = ids == nullptr ? static_cast<int32_t>(i) : ids[i];
    sum += weights[id];
    if (weights[id] > 0) drawn = id;
  }
  return drawn;
}

bool AllFinite(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(x[i]) || x[i] == INFINITY) return false;
  }
  return true;
}

int32_t Greedy(const float* logits, int64_t vocab) {
  const float* best = std::max_element(logits, logits + vocab);  // the first of equals
  return *best == -INFINITY ? -1 : static_cast<int32_t>(best - logits);
}

int32_t SampleRow(float* logits, int64_t vocab, const SampleRequest& request) {
  if (!AllFinite(logits, vocab)) return -1;
  const SamplingParams& params = request.params;
  const int64_t top_k = params.top_k > 0 ? std::min<int64_t>(params.top_k, vocab) : vocab;
  if (params.temperature == 0 || top_k == 1) return Greedy(logits, vocab);

  const double u = Uniform(params.seed, static_cast<uint64_t>(request.index));
  const float max = cpu::Max(logits, vocab);
  if (max == -INFINITY) return -1;  // every token is masked
  // A division: the reciprocal of the smallest temperatures is infinite.
  for (int64_t i = 0; i < vocab; ++i) logits[i] = (logits[i] - max) / params.temperature;
  const double total = cpu::ExpShifted(0.0f, vocab, logits);
  if (top_k == vocab && params.top_p >= 1.0f) return Draw(logits, nullptr, vocab, total, u);

  // Candidates from the most probable down; equals by id.
  std::vector<int32_t> ids(vocab);
  std::iota(ids.begin(), ids.end(), 0);
  const auto less = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] < logits[b] : a > b; };
  std::make_heap(ids.begin(), ids.end(), less);
  // Top-p keeps the smallest set whose share of the top-k's mass reaches p.
  double mass = total;
  if (top_k < vocab) {
    std::vector<int32_t> kept = ids;
    std::nth_element(kept.begin(), kept.begin() + top_k, kept.end(), [&](int32_t a, int32_t b) { return less(b, a); });
    mass = 0;
    for (int64_t i = 0; i < top_k; ++i) mass += logits[kept[i]];
  }
  double sum = 0;
  int64_t count = 0;
  while (count < top_k && (count == 0 || sum < static_cast<double>(params.top_p) * mass)) {
    std::pop_heap(ids.begin(), ids.end() - count, less);
    ++count;
    sum += logits[ids[vocab - count]];
  }
  std::reverse(ids.end() - count, ids.end());
  return Draw(logits, ids.data() + (vocab - count), count, sum, u);
}

}  // namespace

void CpuBackend::Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids) {
  const int64_t vocab = logits.shape[1];
  pool_.For(static_cast<int64_t>(requests.size()),
            [&](int64_t i, int) { ids[i] = SampleRow(logits.f32() + i * vocab, vocab, requests[i]); });
}

}  // namespace tandem
