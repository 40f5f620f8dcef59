#include "backend/cpu/sampling/selection.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/sampling/row_ops.h"

namespace tandem::cpu {

// Candidates gather until there are twice as many as wanted, then the worse half goes and what is no better than the
// worst of the rest is no longer gathered: of equals the earlier index stays.
void SelectTopK(const float* x, int64_t n, int64_t k, std::vector<Candidate>* out) {
  out->clear();
  if (k <= 0) return;
  const auto keep_best = [out, k] {
    std::nth_element(out->begin(), out->begin() + (k - 1), out->end(), IsBetter);
    out->resize(k);
  };
  float threshold = -INFINITY;
  std::vector<int32_t> ids;
  for (int64_t first = 0; first < n; first += kBlock) {
    ids.clear();
    AppendAbove(x + first, std::min(kBlock, n - first), threshold, first, &ids);
    for (const int32_t id : ids) out->push_back({.key = -x[id], .id = id});
    if (static_cast<int64_t>(out->size()) < std::max(2 * k, kBlock)) continue;
    keep_best();
    threshold = -(*out)[k - 1].key;
  }
  if (static_cast<int64_t>(out->size()) > k) keep_best();
}

// Halves the range in which the border lies; what is left of it is in the set.
int64_t SelectMass(std::span<Candidate> candidates, double mass) {
  constexpr int64_t kSmall = 32;
  int64_t begin = 0, end = static_cast<int64_t>(candidates.size());
  double sum = 0;  // of [0, begin)
  while (end - begin > kSmall) {
    const int64_t middle = begin + (end - begin) / 2;
    std::nth_element(candidates.begin() + begin, candidates.begin() + middle, candidates.begin() + end, IsBetter);
    double left = 0;
    for (int64_t i = begin; i < middle; ++i) left += candidates[i].weight;
    if (sum + left >= mass) {
      end = middle;
    } else {
      sum += left;
      begin = middle;
    }
  }
  std::sort(candidates.begin() + begin, candidates.begin() + end, IsBetter);
  for (int64_t i = begin; i < end; ++i) {
    sum += candidates[i].weight;
    if (sum >= mass) return i + 1;
  }
  return end;
}

}  // namespace tandem::cpu
