#include "backend/cpu/activation_kernels.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/activation_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "backend/cpu/vector_ops-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {

using Vec = hn::Vec<Df>;

struct Point {  // of an activation's graph
  Vec value, slope;
};

HWY_INLINE Vec Constant(float value) {
  return hn::Set(Df(), value);
}

// Each activation as a function of one vector. What a caller does not use of a Point, the compiler leaves out.
struct Silu {
  // With s = sigmoid(x): d(x s) / dx = s (1 + x (1 - s)). exp(88) is the last that is finite: 1 / (1 + exp(88)) is as
  // good as 0.
  static HWY_INLINE Point At(Vec x) {
    const Vec one = Constant(1);
    const Vec s = hn::Div(one, hn::Add(one, hn::Exp(Df(), hn::Min(hn::Neg(x), Constant(88.0f)))));
    return {hn::Mul(x, s), hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one))};
  }
};

struct GeluTanh {
  // x (1 + t) / 2 with t = tanh(sqrt(2 / pi) (x + 0.044715 x^3)) (Hendrycks and Gimpel 2016).
  static HWY_INLINE Point At(Vec x) {
    constexpr float kRoot = 0.7978845608028654f, kCubic = 0.044715f;
    const Vec one = Constant(1), half = Constant(0.5f), square = hn::Mul(x, x);
    const Vec inner = hn::Mul(Constant(kRoot), hn::MulAdd(hn::Mul(Constant(kCubic), square), x, x));
    const Vec t = hn::Tanh(Df(), inner), share = hn::MulAdd(half, t, half);
    const Vec dinner = hn::Mul(Constant(kRoot), hn::MulAdd(Constant(3 * kCubic), square, one));
    const Vec dshare = hn::Mul(half, hn::Mul(hn::NegMulAdd(t, t, one), dinner));
    return {hn::Mul(x, share), hn::MulAdd(x, dshare, share)};
  }
};

struct Gelu {
  // x Phi(x); its slope is Phi(x) + x phi(x). Lane by lane: few models have it, and Highway has no erf.
  static HWY_INLINE Point At(Vec x) {
    HWY_ALIGN float value[16], slope[16];
    hn::StoreU(x, Df(), value);
    for (int i = 0; i < kWidth; ++i) {
      const double v = value[i], phi = 0.5 * (1 + std::erf(v * 0.7071067811865476));
      value[i] = static_cast<float>(v * phi);
      slope[i] = static_cast<float>(phi + v * 0.3989422804014327 * std::exp(-0.5 * v * v));
    }
    return {hn::LoadU(Df(), value), hn::LoadU(Df(), slope)};
  }
};

struct Relu {
  static HWY_INLINE Point At(Vec x) {
    const Vec zero = Constant(0);
    return {hn::Max(x, zero), hn::IfThenElse(hn::Gt(x, zero), Constant(1), zero)};
  }
};

template <typename F>
void ActivateLoop(const float* x, int64_t n, float* y) {
  ForGroups(n, [&](int64_t i, int count) {
    Group g = LoadN(x + i, count);
    for (int p = 0; p < kParts; ++p) g.part[p] = F::At(g.part[p]).value;
    StoreN(g, count, y + i);
  });
}

template <typename F>
void ActivateBackwardLoop(const float* x, const float* dy, int64_t n, float* dx) {
  ForGroups(n, [&](int64_t i, int count) {
    Group g = LoadN(x + i, count);
    const Group d = LoadN(dy + i, count);
    for (int p = 0; p < kParts; ++p) g.part[p] = hn::Mul(d.part[p], F::At(g.part[p]).slope);
    StoreN(g, count, dx + i);
  });
}

template <typename F>
void ActivateMulLoop(const float* gate, const float* up, int64_t n, float* y) {
  ForGroups(n, [&](int64_t i, int count) {
    Group g = LoadN(gate + i, count);
    const Group u = LoadN(up + i, count);
    for (int p = 0; p < kParts; ++p) g.part[p] = hn::Mul(F::At(g.part[p]).value, u.part[p]);
    StoreN(g, count, y + i);
  });
}

template <typename F>
void ActivateMulBackwardLoop(const float* gate, const float* up, const float* dy, int64_t n, float* dgate, float* dup) {
  ForGroups(n, [&](int64_t i, int count) {
    const Group g = LoadN(gate + i, count), u = LoadN(up + i, count), d = LoadN(dy + i, count);
    Group dg, du;
    for (int p = 0; p < kParts; ++p) {
      const Point point = F::At(g.part[p]);
      dg.part[p] = hn::Mul(hn::Mul(d.part[p], u.part[p]), point.slope);
      du.part[p] = hn::Mul(d.part[p], point.value);
    }
    StoreN(dg, count, dgate + i);
    StoreN(du, count, dup + i);
  });
}

// fn(F()) for the kind's F.
template <typename Fn>
HWY_INLINE void Switch(Activation kind, Fn&& fn) {
  switch (kind) {
    case Activation::kSilu:
      return fn(Silu());
    case Activation::kGeluTanh:
      return fn(GeluTanh());
    case Activation::kGelu:
      return fn(Gelu());
    case Activation::kRelu:
      return fn(Relu());
  }
}

void ActivateTarget(Activation kind, const float* x, int64_t n, float* y) {
  Switch(kind, [&](auto f) { ActivateLoop<decltype(f)>(x, n, y); });
}
void ActivateBackwardTarget(Activation kind, const float* x, const float* dy, int64_t n, float* dx) {
  Switch(kind, [&](auto f) { ActivateBackwardLoop<decltype(f)>(x, dy, n, dx); });
}
void ActivateMulTarget(Activation kind, const float* gate, const float* up, int64_t n, float* y) {
  Switch(kind, [&](auto f) { ActivateMulLoop<decltype(f)>(gate, up, n, y); });
}
void ActivateMulBackwardTarget(Activation kind, const float* gate, const float* up, const float* dy, int64_t n,
                               float* dgate, float* dup) {
  Switch(kind, [&](auto f) { ActivateMulBackwardLoop<decltype(f)>(gate, up, dy, n, dgate, dup); });
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::cpu {

HWY_EXPORT(ActivateTarget);
HWY_EXPORT(ActivateBackwardTarget);
HWY_EXPORT(ActivateMulTarget);
HWY_EXPORT(ActivateMulBackwardTarget);

void Activate(Activation kind, const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(ActivateTarget)(kind, x, n, y);
}
void ActivateBackward(Activation kind, const float* x, const float* dy, int64_t n, float* dx) {
  HWY_DYNAMIC_DISPATCH(ActivateBackwardTarget)(kind, x, dy, n, dx);
}
void ActivateMul(Activation kind, const float* gate, const float* up, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(ActivateMulTarget)(kind, gate, up, n, y);
}
void ActivateMulBackward(Activation kind, const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                         float* dup) {
  HWY_DYNAMIC_DISPATCH(ActivateMulBackwardTarget)(kind, gate, up, dy, n, dgate, dup);
}

}  // namespace tandem::cpu
#endif
