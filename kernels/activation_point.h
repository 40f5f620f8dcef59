// Each activation as a function of one element: its value and its slope there.
#pragma once

#include "activation.h"

namespace tandem::kernels {

struct Point {  // of an activation's graph
  float value, slope;
};

// What a caller does not use of a Point, the compiler leaves out.
struct Silu {
  // With s = sigmoid(x): d(x s) / dx = s (1 + x (1 - s)). exp(-x) may be infinite: s is 0 then.
  __device__ __forceinline__ Point operator()(float x) const {
    const float s = 1.0f / (1.0f + expf(-x));
    return {x * s, s * (1.0f + x * (1.0f - s))};
  }
};

struct GeluTanh {
  // x (1 + t) / 2 with t = tanh(sqrt(2 / pi) (x + 0.044715 x^3)) (Hendrycks and Gimpel 2016).
  __device__ __forceinline__ Point operator()(float x) const {
    constexpr float kRoot = 0.7978845608028654f, kCubic = 0.044715f;
    const float t = tanhf(kRoot * (x + kCubic * x * x * x)), share = 0.5f + 0.5f * t;
    const float dshare = 0.5f * (1.0f - t * t) * kRoot * (1.0f + 3.0f * kCubic * x * x);
    return {x * share, share + x * dshare};
  }
};

struct Gelu {
  // x Phi(x); its slope is Phi(x) + x phi(x). Phi by erfc, which keeps its digits where Phi is small.
  __device__ __forceinline__ Point operator()(float x) const {
    const float phi = 0.5f * erfcf(-0.7071067811865476f * x);
    return {x * phi, phi + x * 0.3989422804014327f * expf(-0.5f * x * x)};
  }
};

struct Relu {
  __device__ __forceinline__ Point operator()(float x) const { return {fmaxf(x, 0.0f), x > 0 ? 1.0f : 0.0f}; }
};

}  // namespace tandem::kernels
