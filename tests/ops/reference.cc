#include "ops/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tandem::optest {
namespace {

using Values = std::vector<double>;

// [m, n] += alpha * A [m, k] B [k, n]; strides of a row and of a column.
struct Strided {
  const double* data;
  int64_t row, column;
};
void AddProduct(int64_t m, int64_t n, int64_t k, double alpha, Strided a, Strided b, Values& c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l) {
      const double factor = alpha * a.data[i * a.row + l * a.column];
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += factor * b.data[l * b.row + j * b.column];
    }
  }
}
Strided Plain(const Values& values, int64_t columns) {
  return {values.data(), columns, 1};
}
Strided Transposed(const Values& values, int64_t columns) {
  return {values.data(), 1, columns};
}

// What an accumulating output starts from.
Values Initial(const Tensors& in, const std::string& name, int64_t count) {
  const auto found = in.find(name);
  return found == in.end() ? Values(count, 0.0) : found->second;
}

Tensors Linear(const Case& c, const Tensors& in) {
  Values y = Initial(in, "y", c.m * c.n);
  AddProduct(c.m, c.n, c.k, 1, Plain(in.at("x"), c.k), Transposed(in.at("weight"), c.k), y);
  return {{"y", y}};
}

Tensors LinearBackwardInput(const Case& c, const Tensors& in) {
  Values dx = Initial(in, "dx", c.m * c.k);
  AddProduct(c.m, c.k, c.n, 1, Plain(in.at("dy"), c.n), Plain(in.at("weight"), c.k), dx);
  return {{"dx", dx}};
}

Values LoraU(const Case& c, const Tensors& in) {
  Values u(c.m * c.rank);
  AddProduct(c.m, c.rank, c.k, 1, Plain(in.at("x"), c.k), Transposed(in.at("a"), c.k), u);
  return u;
}

Tensors Lora(const Case& c, const Tensors& in) {
  Values y = Initial(in, "y", c.m * c.n);
  AddProduct(c.m, c.n, c.rank, kLoraScale, Plain(LoraU(c, in), c.rank), Transposed(in.at("b"), c.rank), y);
  return {{"y", y}};
}

Tensors LoraBackward(const Case& c, const Tensors& in) {
  const Values &dy = in.at("dy"), u = LoraU(c, in);
  Values du(c.m * c.rank), dx = in.at("dx"), da = in.at("da"), db = in.at("db");
  AddProduct(c.m, c.rank, c.n, kLoraScale, Plain(dy, c.n), Plain(in.at("b"), c.rank), du);
  AddProduct(c.n, c.rank, c.m, kLoraScale, Transposed(dy, c.n), Plain(u, c.rank), db);
  AddProduct(c.rank, c.k, c.m, 1, Transposed(du, c.rank), Plain(in.at("x"), c.k), da);
  AddProduct(c.m, c.k, c.rank, 1, Plain(du, c.rank), Plain(in.at("a"), c.k), dx);
  return {{"dx", dx}, {"da", da}, {"db", db}};
}

Tensors Embedding(const Case& c, const Tensors& in) {
  Values x;
  for (const double id : in.at("ids")) {
    const auto row = in.at("weight").begin() + static_cast<int64_t>(id) * c.k;
    x.insert(x.end(), row, row + c.k);
  }
  return {{"x", x}};
}

double ReciprocalRms(const double* x, int64_t k) {
  return 1 / std::sqrt(std::inner_product(x, x + k, x, 0.0) / static_cast<double>(k) + kNormEpsilon);
}

Tensors RmsNorm(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight");
  Values y(c.m * c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const double r = ReciprocalRms(&x[row * c.k], c.k);
    for (int64_t i = 0; i < c.k; ++i) y[row * c.k + i] = x[row * c.k + i] * r * weight[i];
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

double Sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

Tensors LayerNorm(const Case& c, const Tensors& in) {
  const Values &x = in.at("x"), &weight = in.at("weight"), &bias = in.at("bias");
  Values y(c.m * c.k);
  for (int64_t row = 0; row < c.m; ++row) {
    const Values unit = Normalized(&x[row * c.k], c.k).unit;
    for (int64_t i = 0; i < c.k; ++i) y[row * c.k + i] = unit[i] * weight[i] + bias[i];
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
    if (c.op == Op::kScaleRows) y[i] *= in.at("factors")[i / c.k];
  }
  return {{"y", y}};
}

// The router's choice for one row, and what backward needs of it.
struct RoutedRow {
  RoutedRow(const Case& c, const double* logits) : probabilities(logits, logits + c.n), chosen(c.n) {
    const double max = *std::max_element(probabilities.begin(), probabilities.end());
    double sum = 0;
    for (double& p : probabilities) sum += p = std::exp(p - max);
    for (double& p : probabilities) p /= sum;
    std::iota(chosen.begin(), chosen.end(), 0);
    std::stable_sort(chosen.begin(), chosen.end(), [&](int a, int b) { return probabilities[a] > probabilities[b]; });
    chosen.resize(c.top_k);
    std::sort(chosen.begin(), chosen.end());
    for (const int expert : chosen) divisor += c.normalize ? probabilities[expert] : 0;
    if (!c.normalize) divisor = 1;
  }
  Values probabilities;
  std::vector<int> chosen;
  double divisor = 0;
};

Tensors Route(const Case& c, const Tensors& in) {
  Values experts, weights;
  for (int64_t row = 0; row < c.m; ++row) {
    const RoutedRow routed(c, &in.at("logits")[row * c.n]);
    for (const int expert : routed.chosen) {
      experts.push_back(expert);
      weights.push_back(routed.probabilities[expert] / routed.divisor);
    }
  }
  return {{"sampled", experts}, {"weights", weights}};
}

Tensors RouteBackward(const Case& c, const Tensors& in) {
  Values dlogits(c.m * c.n);
  for (int64_t row = 0; row < c.m; ++row) {
    const RoutedRow routed(c, &in.at("logits")[row * c.n]);
    const double* dw = &in.at("dweights")[row * c.top_k];
    // The Jacobian entry by entry: w_i = p_i / S, dp_i / dl_j = p_i (delta_ij - p_j).
    for (int j = 0; j < c.n; ++j) {
      double ds = 0;
      const auto dp = [&](int i) { return routed.probabilities[i] * ((i == j ? 1 : 0) - routed.probabilities[j]); };
      for (const int i : routed.chosen) ds += c.normalize ? dp(i) : 0;
      for (int i = 0; i < c.top_k; ++i) {
        const int expert = routed.chosen[i];
        const double s = routed.divisor;
        dlogits[row * c.n + j] += dw[i] * (dp(expert) / s - routed.probabilities[expert] * ds / (s * s));
      }
    }
  }
  return {{"dlogits", dlogits}};
}

Tensors ExpertRows(const Case& c, const Tensors& in) {
  const Values& x = in.at("x");
  Values y = c.op == Op::kScatterAddRows ? in.at("y") : Values(c.m * c.k), dots(c.m);
  for (int64_t row = 0; row < c.m; ++row) {
    for (int64_t i = 0; i < c.k; ++i) {
      const int64_t here = row * c.k + i, there = TargetOf(c, row) * c.k + i;
      if (c.op == Op::kGatherRows) y[here] = x[there];
      if (c.op == Op::kScatterAddRows) y[there] += in.at("factors")[row] * x[here];
      if (c.op == Op::kRowDots) dots[row] += x[here] * in.at("y")[here];
    }
  }
  return c.op == Op::kRowDots ? Tensors{{"dots", dots}} : Tensors{{"y", y}};
}

// Calls fn(row of q, query head, first row of the sequence in k and v, kv head, positions seen).
template <typename Fn>
void ForAttentionRows(const Case& c, Fn&& fn) {
  int64_t row = 0, kv_row = 0;
  for (const SequenceShape& s : c.sequences) {
    for (int i = 0; i < s.num_rows; ++i, ++row) {
      for (int h = 0; h < c.num_heads(); ++h) fn(row, h, kv_row, h / c.group, s.first_position + i + 1);
    }
    kv_row += s.context();
  }
}

// One query head of one row against the positions it sees.
struct AttentionRow {
  AttentionRow(const Case& c, const Tensors& in, int64_t row, int head, int64_t kv_row, int kv_head, int num_seen)
      : dim(c.head_dim),
        width(static_cast<int64_t>(c.num_kv_heads) * dim),
        seen(num_seen),
        q_at((row * c.num_heads() + head) * dim),
        kv_at(kv_row * width + kv_head * dim),
        scale(AttentionScale(c)),
        p(seen),
        slope(seen, 1.0) {
    const double *q = &in.at("q")[q_at], *k = &in.at("k")[kv_at];
    for (int j = 0; j < seen; ++j) p[j] = scale * std::inner_product(q, q + dim, k + j * width, 0.0);
    for (int j = 0; j < seen && c.soft_cap > 0; ++j) {
      const double t = std::tanh(p[j] / c.soft_cap);
      p[j] = c.soft_cap * t;
      slope[j] = 1 - t * t;
    }
    if (c.window > 0 && seen > c.window) std::fill(p.begin(), p.end() - c.window, -INFINITY);
    const double max = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value - max);
    for (double& value : p) value /= sum;
    lse = max + std::log(sum);
  }
  int64_t dim, width, seen, q_at, kv_at;
  double scale, lse;
  Values p, slope;  // slope: of the soft cap
};

Tensors Attention(const Case& c, const Tensors& in) {
  Values out(in.at("q").size()), lse(c.m * c.num_heads());
  ForAttentionRows(c, [&](int64_t row, int head, int64_t kv_row, int kv_head, int seen) {
    const AttentionRow r(c, in, row, head, kv_row, kv_head, seen);
    const double* v = &in.at("v")[r.kv_at];
    for (int j = 0; j < seen; ++j) {
      for (int64_t d = 0; d < r.dim; ++d) out[r.q_at + d] += r.p[j] * v[j * r.width + d];
    }
    lse[row * c.num_heads() + head] = r.lse;
  });
  return {{"out", out}, {"lse", lse}};
}

Tensors AttentionBackward(const Case& c, const Tensors& in) {
  const Values& q = in.at("q");
  Values dq(q.size()), dk = in.at("dk"), dv = in.at("dv");
  ForAttentionRows(c, [&](int64_t row, int head, int64_t kv_row, int kv_head, int seen) {
    const AttentionRow r(c, in, row, head, kv_row, kv_head, seen);
    const double *k = &in.at("k")[r.kv_at], *v = &in.at("v")[r.kv_at], *dout = &in.at("dout")[r.q_at];
    Values dp(seen);
    for (int j = 0; j < seen; ++j) dp[j] = std::inner_product(dout, dout + r.dim, v + j * r.width, 0.0);
    const double mean = std::inner_product(dp.begin(), dp.end(), r.p.begin(), 0.0);
    for (int j = 0; j < seen; ++j) {
      const double ds = r.p[j] * (dp[j] - mean) * r.slope[j] * r.scale;
      for (int64_t d = 0; d < r.dim; ++d) {
        dq[r.q_at + d] += ds * k[j * r.width + d];
        dk[r.kv_at + j * r.width + d] += ds * q[r.q_at + d];
        dv[r.kv_at + j * r.width + d] += r.p[j] * dout[d];
      }
    }
  });
  return {{"dq", dq}, {"dk", dk}, {"dv", dv}};
}

Tensors LinearCrossEntropy(const Case& c, const Tensors& in) {
  Values logits(c.m * c.n), losses(c.m), dx(c.m * c.k);
  AddProduct(c.m, c.n, c.k, 1, Plain(in.at("x"), c.k), Transposed(in.at("weight"), c.k), logits);
  for (int64_t row = 0; row < c.m; ++row) {
    const int32_t label = LabelOf(c, row);
    double* p = &logits[row * c.n];
    if (label == kIgnoredLabel) {
      std::fill(p, p + c.n, 0.0);  // no gradient either
      continue;
    }
    Values slope(c.n, 1.0);
    for (int64_t i = 0; i < c.n && c.soft_cap > 0; ++i) {
      const double t = std::tanh(p[i] / c.soft_cap);
      p[i] = c.soft_cap * t;
      slope[i] = 1 - t * t;
    }
    const double max = *std::max_element(p, p + c.n), target = p[label];
    double sum = 0;
    for (int64_t i = 0; i < c.n; ++i) sum += std::exp(p[i] - max);
    losses[row] = max + std::log(sum) - target;
    for (int64_t i = 0; i < c.n; ++i) p[i] = (std::exp(p[i] - max) / sum - (i == label ? 1 : 0)) * slope[i];
  }
  AddProduct(c.m, c.k, c.n, 1, Plain(logits, c.n), Plain(in.at("weight"), c.k), dx);
  return {{"losses", losses}, {"dx", dx}};
}

Tensors Greedy(const Case& c, const Tensors& in) {
  Values sampled;
  for (auto row = in.at("logits").begin(); row != in.at("logits").end(); row += c.n) {
    sampled.push_back(static_cast<double>(std::max_element(row, row + c.n) - row));
  }
  return {{"sampled", sampled}};
}

// As in the documentation of torch.optim.AdamW.
Tensors AdamW(const Tensors& in) {
  const AdamWStep& s = kAdamWStep;
  Values p = in.at("parameter"), m = in.at("m"), v = in.at("v");
  for (size_t i = 0; i < p.size(); ++i) {
    const double g = in.at("gradient")[i] * s.gradient_scale;
    p[i] -= s.learning_rate * s.weight_decay * p[i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    const double m_hat = m[i] / (1 - std::pow(s.beta1, s.step)), v_hat = v[i] / (1 - std::pow(s.beta2, s.step));
    p[i] -= s.learning_rate * m_hat / (std::sqrt(v_hat) + s.epsilon);
  }
  return {{"parameter", p}, {"m", m}, {"v", v}};
}

}  // namespace

Tensors Reference(const Case& c, const Tensors& in) {
  switch (c.op) {
    case Op::kLinear:
      return Linear(c, in);
    case Op::kLinearBackwardInput:
      return LinearBackwardInput(c, in);
    case Op::kLora:
      return Lora(c, in);
    case Op::kLoraBackward:
      return LoraBackward(c, in);
    case Op::kEmbedding:
      return Embedding(c, in);
    case Op::kRmsNorm:
      return RmsNorm(c, in);
    case Op::kRmsNormBackward:
      return RmsNormBackward(c, in);
    case Op::kRope:
      return Rope(c, in, "x", 1);
    case Op::kRopeBackward:
      return Rope(c, in, "dx", -1);
    case Op::kLayerNorm:
      return LayerNorm(c, in);
    case Op::kLayerNormBackward:
      return LayerNormBackward(c, in);
    case Op::kActivate:
    case Op::kActivateMul:
      return Activate(c, in);
    case Op::kActivateBackward:
    case Op::kActivateMulBackward:
      return ActivateBackward(c, in);
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kSoftCap:
    case Op::kScaleRows:
      return Elementwise(c, in);
    case Op::kRoute:
      return Route(c, in);
    case Op::kRouteBackward:
      return RouteBackward(c, in);
    case Op::kGatherRows:
    case Op::kScatterAddRows:
    case Op::kRowDots:
      return ExpertRows(c, in);
    case Op::kAttention:
      return Attention(c, in);
    case Op::kAttentionBackward:
      return AttentionBackward(c, in);
    case Op::kLinearCrossEntropy:
      return LinearCrossEntropy(c, in);
    case Op::kSample:
      return Greedy(c, in);
    case Op::kSumOfSquares:
      return {{"sum", {std::inner_product(in.at("x").begin(), in.at("x").end(), in.at("x").begin(), 0.0)}}};
    case Op::kAdamW:
      return AdamW(in);
  }
  return {};
}

std::vector<double> FiniteDifferences(const Case& forward, const Tensors& inputs, const std::string& name,
                                      const Tensors& weights) {
  constexpr double kStep = 1e-5;  // errors: kStep^2 of the curvature, 1e-16 / kStep of rounding; both about 1e-10
  Tensors moved = inputs;
  const auto loss = [&] {
    const Tensors outputs = Reference(forward, moved);
    double sum = 0;
    for (const auto& [output, w] : weights) {
      sum += std::inner_product(w.begin(), w.end(), outputs.at(output).begin(), 0.0);
    }
    return sum;
  };
  Values gradient;
  for (double& value : moved.at(name)) {
    const double old = value;
    value = old + kStep;
    const double above = loss();
    value = old - kStep;
    gradient.push_back((above - loss()) / (2 * kStep));
    value = old;
  }
  return gradient;
}

}  // namespace tandem::optest
