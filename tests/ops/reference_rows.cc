#include "ops/reference_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tandem::optest {

namespace {

double ReciprocalRms(const double* x, int64_t k) {
  return 1 / std::sqrt(std::inner_product(x, x + k, x, 0.0) / static_cast<double>(k) + kNormEpsilon);
}

}  // namespace

Tensors RmsNorm(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight");
  Values y = Initial(in, "y", c.m * c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const double r = ReciprocalRms(&x[row * c.k], c.k);
    for (int64_t i = 0; i < c.k; ++i) y[row * c.k + i] += x[row * c.k + i] * r * weight[i];
  }
  return {{"y", y}};
}

Tensors RmsNormBackward(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight"), &dy = in.at("dy");
  Values dx = Initial(in, "dx", c.m * c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const double r = ReciprocalRms(&x[row * c.k], c.k);
    double dot = 0;
    for (int64_t i = 0; i < c.k; ++i) dot += dy[row * c.k + i] * weight[i] * x[row * c.k + i];
    for (int64_t i = 0; i < c.k; ++i) {
      const int64_t at = row * c.k + i;
      dx[at] += r * dy[at] * weight[i] - x[at] * r * r * r * dot / static_cast<double>(c.k);
    }
  }
  return {{"dx", dx}};
}

namespace {

struct NormalizedRow {
  Values unit;  // (x - mean) / deviation
  double reciprocal;
};
NormalizedRow Normalized(const double* x, int64_t k) {
  const double count = static_cast<double>(k), mean = std::accumulate(x, x + k, 0.0) / count;
  Values unit(x, x + k);
  for (double& value : unit) value -= mean;
  const double variance = std::inner_product(unit.begin(), unit.end(), unit.begin(), 0.0) / count;
  const double reciprocal = 1 / std::sqrt(variance + kNormEpsilon);
  for (double& value : unit) value *= reciprocal;
  return {unit, reciprocal};
}

}  // namespace

// sign -1 is the inverse rotation.
Tensors Rope(const Case& c, const Tensors& in, const std::string& name, double sign) {
  Values x = in.at(name);
  const Values& table = in.at("table");
  const int64_t half = c.head_dim / 2;
  double* head = x.data();
  for (const SequenceShape& s : c.sequences) {
    for (int row = 0; row < s.num_rows; ++row) {
      const double* angles = &table[(s.first_position + row) * c.head_dim];
      for (int h = 0; h < c.num_heads(); ++h, head += c.head_dim) {
        for (int64_t i = 0; i < half; ++i) {
          const double low = head[i], high = head[half + i], cosine = angles[i], sine = sign * angles[half + i];
          head[i] = low * cosine - high * sine;
          head[half + i] = low * sine + high * cosine;
        }
      }
    }
  }
  return {{name, x}};
}

namespace {

double Sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

Tensors LayerNorm(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight"), &bias = in.at("bias");
  Values y = Initial(in, "y", c.m * c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const Values unit = Normalized(&x[row * c.k], c.k).unit;
    for (int64_t i = 0; i < c.k; ++i) y[row * c.k + i] += unit[i] * weight[i] + bias[i];
  }
  return {{"y", y}};
}

Tensors LayerNormBackward(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight"), &dy = in.at("dy");
  Values dx = Initial(in, "dx", c.m * c.k);
  const double count = static_cast<double>(c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const NormalizedRow normalized = Normalized(&x[row * c.k], c.k);
    Values g(c.k);
    for (int64_t i = 0; i < c.k; ++i) g[i] = dy[row * c.k + i] * weight[i];
    const double mean = std::accumulate(g.begin(), g.end(), 0.0) / count;
    const double pull = std::inner_product(g.begin(), g.end(), normalized.unit.begin(), 0.0) / count;
    for (int64_t i = 0; i < c.k; ++i) {
      dx[row * c.k + i] += normalized.reciprocal * (g[i] - mean - normalized.unit[i] * pull);
    }
  }
  return {{"dx", dx}};
}

namespace {

// An activation's value and its slope.
std::pair<double, double> Activated(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu: {
      const double s = Sigmoid(x);
      return {x * s, s * (1 + x * (1 - s))};
    }
    case Activation::kGeluTanh: {
      const double root = std::sqrt(2 / M_PI), t = std::tanh(root * (x + 0.044715 * x * x * x));
      return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x)};
    }
    case Activation::kGelu: {
      const double phi = 0.5 * std::erfc(-x / std::sqrt(2.0));
      return {x * phi, phi + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI)};
    }
    case Activation::kRelu:
      return {std::max(x, 0.0), x > 0 ? 1.0 : 0.0};
  }
  return {};
}

}  // namespace

// x or gate, with up where there is one.
Tensors Activate(const Case& c, const Tensors& in) {
  const bool gated = c.op == Op::kActivateMul;
  Values y = in.at(gated ? "gate" : "x");
  for (size_t i = 0; i < y.size(); ++i) y[i] = Activated(c.activation, y[i]).first * (gated ? in.at("up")[i] : 1.0);
  return {{"y", y}};
}

Tensors ActivateBackward(const Case& c, const Tensors& in) {
  const bool gated = c.op == Op::kActivateMulBackward;
  const Values &x = in.at(gated ? "gate" : "x"), &dy = in.at("dy");
  Values dx(x.size()), dup(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto [value, slope] = Activated(c.activation, x[i]);
    dx[i] = dy[i] * slope * (gated ? in.at("up")[i] : 1.0);
    dup[i] = dy[i] * value;
  }
  return gated ? Tensors{{"dgate", dx}, {"dup", dup}} : Tensors{{"dx", dx}};
}

Tensors Elementwise(const Case& c, const Tensors& in) {
  Values y = in.at("y");
  for (size_t i = 0; i < y.size(); ++i) {
    if (c.op == Op::kAdd) y[i] += in.at("x")[i];
    if (c.op == Op::kAddBias) y[i] += in.at("bias")[i % c.k];
    if (c.op == Op::kScale) y[i] *= kFactor;
    if (c.op == Op::kSoftCap) y[i] = kCap * std::tanh(y[i] / kCap);
  }
  return {{"y", y}};
}

}  // namespace tandem::optest
