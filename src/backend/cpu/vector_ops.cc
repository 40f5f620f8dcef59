#include "backend/cpu/vector_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/vector_ops.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "backend/cpu/vector_ops-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {

double SumOfSquaresTarget(const float* x, int64_t n) {
  double total = 0;
  for (int64_t first = 0; first < n; first += 256) {
    const int64_t count = std::min<int64_t>(256, n - first);
    total += DotLoop(x + first, x + first, count);
  }
  return total;
}

float DotTarget(const float* x, const float* y, int64_t n) {
  return DotLoop(x, y, n);
}
float MaxTarget(const float* x, int64_t n) {
  return MaxLoop(x, n);
}
float ExpShiftedTarget(float shift, int64_t n, float* x) {
  return ExpShiftedLoop(shift, n, x);
}

void SoftCapTarget(float cap, int64_t n, float* x) {
  SoftCapLoop(cap, n, x);
}

void AddTarget(const float* x, int64_t n, float* y) {
  ForGroups(n, [&](int64_t i, int count) {
    Group a = LoadN(x + i, count);
    const Group b = LoadN(y + i, count);
    for (int p = 0; p < kParts; ++p) a.part[p] = hn::Add(a.part[p], b.part[p]);
    StoreN(a, count, y + i);
  });
}

void ScaleByTarget(const float* x, const float* weight, float factor, int64_t n, float* y) {
  const auto f = hn::Set(Df(), factor);
  ForGroups(n, [&](int64_t i, int count) {
    Group a = LoadN(x + i, count);
    const Group w = LoadN(weight + i, count);
    for (int p = 0; p < kParts; ++p) a.part[p] = hn::Mul(hn::Mul(a.part[p], f), w.part[p]);
    StoreN(a, count, y + i);
  });
}

HWY_INLINE Group UnitOf(const RowScale& scale, int64_t i, int count) {
  return scale.unit == nullptr ? Splat(1) : LoadN(scale.unit + i, count);
}
HWY_INLINE Group CenterOf(const RowScale& scale, int64_t i, int count) {
  return scale.center == nullptr ? Splat(0) : LoadN(scale.center + i, count);
}

void ScaleRowTarget(const RowScale& scale, int64_t n, float* y) {
  ForGroups(n, [&](int64_t i, int count) {
    Group a = LoadN(y + i, count);
    const Group f = LoadN(scale.factor + i, count), u = UnitOf(scale, i, count), c = CenterOf(scale, i, count);
    for (int p = 0; p < kParts; ++p) {
      a.part[p] = hn::MulAdd(hn::Mul(f.part[p], u.part[p]), hn::Sub(a.part[p], c.part[p]), c.part[p]);
    }
    StoreN(a, count, y + i);
  });
}

void ScaleRowBackwardTarget(const RowScale& scale, const float* x, const float* dy, int64_t n, float* dfactor,
                            float* dx) {
  ForGroups(n, [&](int64_t i, int count) {
    const Group f = LoadN(scale.factor + i, count), u = UnitOf(scale, i, count), c = CenterOf(scale, i, count);
    const Group a = LoadN(x + i, count), d = LoadN(dy + i, count);
    Group sum = LoadN(dfactor + i, count), out;
    for (int p = 0; p < kParts; ++p) {
      const auto slope = hn::Mul(d.part[p], u.part[p]);
      sum.part[p] = hn::MulAdd(slope, hn::Sub(a.part[p], c.part[p]), sum.part[p]);
      out.part[p] = hn::Mul(slope, f.part[p]);
    }
    StoreN(sum, count, dfactor + i);
    StoreN(out, count, dx + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::cpu {

HWY_EXPORT(SumOfSquaresTarget);
HWY_EXPORT(DotTarget);
HWY_EXPORT(AddTarget);
HWY_EXPORT(ScaleByTarget);
HWY_EXPORT(ScaleRowTarget);
HWY_EXPORT(ScaleRowBackwardTarget);
HWY_EXPORT(MaxTarget);
HWY_EXPORT(ExpShiftedTarget);
HWY_EXPORT(SoftCapTarget);

double SumOfSquares(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquaresTarget)(x, n);
}
float Dot(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(DotTarget)(x, y, n);
}
void Add(const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(AddTarget)(x, n, y);
}
void ScaleBy(const float* x, const float* weight, float factor, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(ScaleByTarget)(x, weight, factor, n, y);
}
void ScaleRow(const RowScale& scale, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(ScaleRowTarget)(scale, n, y);
}
void ScaleRowBackward(const RowScale& scale, const float* x, const float* dy, int64_t n, float* dfactor, float* dx) {
  HWY_DYNAMIC_DISPATCH(ScaleRowBackwardTarget)(scale, x, dy, n, dfactor, dx);
}
float Max(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(MaxTarget)(x, n);
}
float ExpShifted(float shift, int64_t n, float* x) {
  return HWY_DYNAMIC_DISPATCH(ExpShiftedTarget)(shift, n, x);
}
void SoftCap(float cap, int64_t n, float* x) {
  HWY_DYNAMIC_DISPATCH(SoftCapTarget)(cap, n, x);
}

}  // namespace tandem::cpu
#endif
