#include "backend/cpu/sampling/row_ops.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sampling/row_ops.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "backend/cpu/vector_ops-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {

float MaxOrNanTarget(const float* x, int64_t n) {
  const auto infinity = hn::Set(Df(), INFINITY);
  Group best = Splat(-INFINITY);
  auto good = hn::Eq(infinity, infinity);
  ForGroups(n, [&](int64_t i, int count) {
    const Group g = LoadN(x + i, count, -INFINITY);
    for (int p = 0; p < kParts; ++p) {
      good = hn::And(good, hn::Lt(g.part[p], infinity));  // false for a NaN
      best.part[p] = hn::Max(g.part[p], best.part[p]);
    }
  });
  if (!hn::AllTrue(Df(), good)) return NAN;
  HWY_ALIGN float lanes[16];
  Store(best, lanes);
  return *std::max_element(lanes, lanes + 16);
}

int64_t FindTarget(const float* x, int64_t n, float value) {
  const auto wanted = hn::Set(Df(), value);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const intptr_t lane = hn::FindFirstTrue(Df(), hn::Eq(hn::LoadU(Df(), x + i), wanted));
    if (lane >= 0) return i + lane;
  }
  while (i < n && x[i] != value) ++i;
  return i;
}

double ExpWeightsTarget(const float* x, int64_t n, float max, float temperature, float* weights, double* block_sums) {
  const auto offset = hn::Set(Df(), max), t = hn::Set(Df(), temperature);
  double total = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    Group sum = Splat(0);
    ForGroups(std::min(kBlock, n - first), [&](int64_t i, int count) {
      Group g = LoadN(x + first + i, count, -INFINITY);
      for (int p = 0; p < kParts; ++p) {
        // A division: the reciprocal of the smallest temperatures is infinite.
        g.part[p] = hn::Exp(Df(), hn::Div(hn::Sub(g.part[p], offset), t));
        sum.part[p] = hn::Add(sum.part[p], g.part[p]);
      }
      StoreN(g, count, weights + first + i);
    });
    const double block_sum = SumLanes(sum);
    if (block_sums != nullptr) block_sums[first / kBlock] = block_sum;
    total += block_sum;
  }
  return total;
}

void AppendAboveTarget(const float* x, int64_t n, float threshold, int64_t first, std::vector<int32_t>* ids) {
  const auto bound = hn::Set(Df(), threshold);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const auto above = hn::Gt(hn::LoadU(Df(), x + i), bound);
    if (hn::AllFalse(Df(), above)) continue;
    for (int lane = 0; lane < kWidth; ++lane) {
      if (x[i + lane] > threshold) ids->push_back(static_cast<int32_t>(first + i + lane));
    }
  }
  for (; i < n; ++i) {
    if (x[i] > threshold) ids->push_back(static_cast<int32_t>(first + i));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::cpu {

HWY_EXPORT(MaxOrNanTarget);
HWY_EXPORT(FindTarget);
HWY_EXPORT(ExpWeightsTarget);
HWY_EXPORT(AppendAboveTarget);

float MaxOrNan(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(MaxOrNanTarget)(x, n);
}
int64_t Find(const float* x, int64_t n, float value) {
  return HWY_DYNAMIC_DISPATCH(FindTarget)(x, n, value);
}
double ExpWeights(const float* x, int64_t n, float max, float temperature, float* weights, double* block_sums) {
  return HWY_DYNAMIC_DISPATCH(ExpWeightsTarget)(x, n, max, temperature, weights, block_sums);
}
void AppendAbove(const float* x, int64_t n, float threshold, int64_t first, std::vector<int32_t>* ids) {
  HWY_DYNAMIC_DISPATCH(AppendAboveTarget)(x, n, threshold, first, ids);
}

}  // namespace tandem::cpu
#endif
