// The loops of vector_ops.h, compiled once per instruction set by the files that include it.
#if defined(TANDEM_BACKEND_CPU_VECTOR_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_BACKEND_CPU_VECTOR_OPS_INL_H_
#undef TANDEM_BACKEND_CPU_VECTOR_OPS_INL_H_
#else
#define TANDEM_BACKEND_CPU_VECTOR_OPS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Df = hn::CappedTag<float, 16>;
inline constexpr int kWidth = HWY_MIN(16, HWY_LANES(float));
inline constexpr int kParts = 16 / kWidth;  // vectors per group of sixteen lanes

// Sixteen lanes as vectors; every operation works lane by lane.
struct Group {
  hn::Vec<Df> part[kParts];
};

HWY_INLINE Group Splat(float value) {
  Group g;
  for (int i = 0; i < kParts; ++i) g.part[i] = hn::Set(Df(), value);
  return g;
}
HWY_INLINE Group Load(const float* x) {
  Group g;
  for (int i = 0; i < kParts; ++i) g.part[i] = hn::LoadU(Df(), x + i * kWidth);
  return g;
}
HWY_INLINE void Store(const Group& g, float* x) {
  for (int i = 0; i < kParts; ++i) hn::StoreU(g.part[i], Df(), x + i * kWidth);
}
// Lanes summed 0, 1, 2 ...: the same for every vector width.
HWY_INLINE float SumLanes(const Group& g) {
  HWY_ALIGN float lanes[16];
  Store(g, lanes);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// Calls fn(offset, load, store) for each group of [0, n); the last, partial one through a buffer padded with `padding`.
template <typename Fn>
HWY_INLINE void ForGroups(int64_t n, Fn&& fn) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) fn(i, 16);
  if (i < n) fn(i, static_cast<int>(n - i));
}
HWY_INLINE Group LoadN(const float* x, int count, float padding = 0) {
  if (count == 16) return Load(x);
  HWY_ALIGN float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = i < count ? x[i] : padding;
  return Load(lanes);
}
HWY_INLINE void StoreN(const Group& g, int count, float* x) {
  if (count == 16) return Store(g, x);
  HWY_ALIGN float lanes[16];
  Store(g, lanes);
  for (int i = 0; i < count; ++i) x[i] = lanes[i];
}

// exp(x - shift) in place; returns the sum over lanes and groups in order.
HWY_INLINE float ExpShiftedLoop(float shift, int64_t n, float* x) {
  Group sum = Splat(0);
  const auto offset = hn::Set(Df(), shift);
  ForGroups(n, [&](int64_t i, int count) {
    Group g = LoadN(x + i, count, -INFINITY);
    for (int p = 0; p < kParts; ++p) {
      g.part[p] = hn::Exp(Df(), hn::Sub(g.part[p], offset));
      sum.part[p] = hn::Add(sum.part[p], g.part[p]);
    }
    StoreN(g, count, x + i);
  });
  return SumLanes(sum);
}

// x = cap * tanh(x / cap) in place.
HWY_INLINE void SoftCapLoop(float cap, int64_t n, float* x) {
  const auto limit = hn::Set(Df(), cap), inverse = hn::Set(Df(), 1.0f / cap);
  ForGroups(n, [&](int64_t i, int count) {
    Group g = LoadN(x + i, count);
    for (int p = 0; p < kParts; ++p) g.part[p] = hn::Mul(limit, hn::Tanh(Df(), hn::Mul(g.part[p], inverse)));
    StoreN(g, count, x + i);
  });
}

HWY_INLINE float MaxLoop(const float* x, int64_t n) {
  Group best = Splat(-INFINITY);
  ForGroups(n, [&](int64_t i, int count) {
    const Group g = LoadN(x + i, count, -INFINITY);
    for (int p = 0; p < kParts; ++p) best.part[p] = hn::Max(g.part[p], best.part[p]);
  });
  HWY_ALIGN float lanes[16];
  Store(best, lanes);
  return *std::max_element(lanes, lanes + 16);
}

HWY_INLINE float DotLoop(const float* x, const float* y, int64_t n) {
  Group sum = Splat(0);
  ForGroups(n, [&](int64_t i, int count) {
    const Group a = LoadN(x + i, count), b = LoadN(y + i, count);
    for (int p = 0; p < kParts; ++p) sum.part[p] = hn::MulAdd(a.part[p], b.part[p], sum.part[p]);
  });
  return SumLanes(sum);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#endif
