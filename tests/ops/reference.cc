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

Tensors SiluMul(const Tensors& in) {
  const Values &gate = in.at("gate"), &up = in.at("up");
  Values y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
  return {{"y", y}};
}

Tensors SiluMulBackward(const Tensors& in) {
  const Values &gate = in.at("gate"), &up = in.at("up"), &dy = in.at("dy");
  Values dgate(gate.size()), dup(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double s = Sigmoid(gate[i]);
    dgate[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
    dup[i] = dy[i] * gate[i] * s;
  }
  return {{"dgate", dgate}, {"dup", dup}};
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
        p(seen) {
    const double *q = &in.at("q")[q_at], *k = &in.at("k")[kv_at];
    for (int j = 0; j < seen; ++j) p[j] = scale * std::inner_product(q, q + dim, k + j * width, 0.0);
    const double max = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value - max);
    for (double& value : p) value /= sum;
    lse = max + std::log(sum);
  }
  int64_t dim, width, seen, q_at, kv_at;
  double scale, lse;
  Values p;
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
      const double ds = r.p[j] * (dp[j] - mean) * r.scale;
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
    const double max = *std::max_element(p, p + c.n), target = p[label];
    double sum = 0;
    for (int64_t i = 0; i < c.n; ++i) sum += std::exp(p[i] - max);
    losses[row] = max + std::log(sum) - target;
    for (int64_t i = 0; i < c.n; ++i) p[i] = std::exp(p[i] - max) / sum - (i == label ? 1 : 0);
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
    case Op::kSiluMul:
      return SiluMul(in);
    case Op::kSiluMulBackward:
      return SiluMulBackward(in);
    case Op::kAdd: {
      Values y = in.at("y");
      for (size_t i = 0; i < y.size(); ++i) y[i] += in.at("x")[i];
      return {{"y", y}};
    }
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
