#include "ops/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/reference_adapters.h"
#include "ops/reference_rows.h"

namespace tandem::optest {
namespace {

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

Tensors Embedding(const Case& c, const Tensors& in) {
  Values x;
  for (const double id : in.at("ids")) {
    const auto row = in.at("weight").begin() + static_cast<int64_t>(id) * c.k;
    x.insert(x.end(), row, row + c.k);
  }
  return {{"x", x}};
}

Tensors GatherRows(const Case& c, const Tensors& in) {
  Values y;
  for (const double row : in.at("rows")) {
    const auto from = in.at("x").begin() + static_cast<int64_t>(row) * c.k;
    y.insert(y.end(), from, from + c.k);
  }
  return {{"y", y}};
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

// As torch.nn.utils.clip_grad_norm_ does.
Tensors ClipGradients(const Tensors& in) {
  const Values& gradient = in.at("gradient");
  const double squares = std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), 0.0);
  const double norm = std::sqrt(squares) / kClipOptions.divisor;
  return {{"norm", {norm}}, {"scale", {std::min(1.0, kClipOptions.max_norm / (norm + 1e-6)) / kClipOptions.divisor}}};
}

// As in the documentation of torch.optim.AdamW.
Tensors AdamW(const Tensors& in) {
  const AdamWStep& s = kAdamWStep;
  Values p = in.at("parameter"), m = in.at("m"), v = in.at("v");
  for (size_t i = 0; i < p.size(); ++i) {
    const double g = in.at("gradient")[i] * kGradientScale;
    p[i] -= s.learning_rate * s.weight_decay * p[i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    const double m_hat = m[i] / (1 - std::pow(s.beta1, s.step)), v_hat = v[i] / (1 - std::pow(s.beta2, s.step));
    p[i] -= s.learning_rate * m_hat / (std::sqrt(v_hat) + s.epsilon);
  }
  return {{"parameter", p}, {"gradient", Values(p.size(), 0.0)}, {"m", m}, {"v", v}};
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
    case Op::kScaleColumns:
      return ScaleColumns(c, in);
    case Op::kScaleColumnsBackward:
      return ScaleColumnsBackward(c, in);
    case Op::kRowSquares:
      return RowSquares(c, in);
    case Op::kInverseRowNorms:
      return InverseRowNorms(c, in);
    case Op::kEmbedding:
      return Embedding(c, in);
    case Op::kGatherRows:
      return GatherRows(c, in);
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
      return Elementwise(c, in);
    case Op::kRoute:
      return Route(c, in);
    case Op::kRouteBackward:
      return RouteBackward(c, in);
    case Op::kGatherChoices:
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
      return ExpertChoices(c, in);
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      return ExpertProducts(c, in);
    case Op::kAttention:
      return Attention(c, in);
    case Op::kAttentionBackward:
      return AttentionBackward(c, in);
    case Op::kLinearCrossEntropy:
      return LinearCrossEntropy(c, in);
    case Op::kSample:
      return Greedy(c, in);
    case Op::kClipGradients:
      return ClipGradients(in);
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
