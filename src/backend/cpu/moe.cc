// Routed experts: which rows go to which expert, moving rows there and back, and the experts' products. Row by row, so
// that a row's experts and sums do not depend on the rest of the batch.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

constexpr int64_t kRowGrain = 4;

// probabilities = softmax(logits)
void Softmax(const float* logits, int64_t n, float* probabilities) {
  std::copy_n(logits, n, probabilities);
  const float sum = cpu::ExpShifted(cpu::Max(logits, n), n, probabilities);
  for (int64_t i = 0; i < n; ++i) probabilities[i] /= sum;
}

// What the shares of a row's experts are divided by.
float Divisor(const float* probabilities, const int32_t* experts, const RouterOptions& options) {
  if (!options.normalize) return 1;
  float sum = 0;
  for (int i = 0; i < options.top_k; ++i) sum += probabilities[experts[i]];
  return sum;
}

int32_t* I32(const TensorView& tensor) {
  return static_cast<int32_t*>(tensor.data);
}

// fn(expert, first, count) for the rows of `order` of each expert that has any.
template <typename Fn>
void ForExperts(const Routing& routing, Fn&& fn) {
  const int32_t* ends = I32(routing.ends);
  for (int64_t expert = 0, first = 0; expert < routing.ends.shape[0]; first = ends[expert++]) {
    if (ends[expert] > first) fn(expert, first, ends[expert] - first);
  }
}

// order, places and ends from the experts: a counting sort, which keeps the choices of an expert in their order.
void Sort(const Routing& routing) {
  const int64_t choices = routing.experts.shape.num_elements(), num_experts = routing.ends.shape[0];
  const int32_t* experts = I32(routing.experts);
  std::vector<int32_t> next(num_experts + 1, 0);
  for (int64_t c = 0; c < choices; ++c) ++next[experts[c] + 1];
  for (int64_t i = 0; i < num_experts; ++i) next[i + 1] += next[i];
  std::copy_n(next.begin() + 1, num_experts, I32(routing.ends));
  for (int64_t c = 0; c < choices; ++c) {
    const int32_t place = next[experts[c]]++;
    I32(routing.places)[c] = place;
    I32(routing.order)[place] = static_cast<int32_t>(c);
  }
}

}  // namespace

void CpuBackend::Route(const TensorView& logits, const RouterOptions& options, const Routing& routing) {
  const int64_t num_experts = logits.shape[1], k = options.top_k;
  ForRange(logits.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    std::vector<float> probabilities(num_experts);
    std::vector<int32_t> order(num_experts);
    for (int64_t row = first; row < first + count; ++row) {
      Softmax(logits.f32() + row * num_experts, num_experts, probabilities.data());
      for (int64_t i = 0; i < num_experts; ++i) order[i] = static_cast<int32_t>(i);
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
        return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
      });
      std::sort(order.begin(), order.begin() + k);
      int32_t* own = I32(routing.experts) + row * k;
      std::copy_n(order.begin(), k, own);
      const float divisor = Divisor(probabilities.data(), own, options);
      for (int64_t i = 0; i < k; ++i) routing.weights.f32()[row * k + i] = probabilities[own[i]] / divisor;
    }
  });
  Sort(routing);
}

// With p = softmax(logits), S the sum of the chosen p, w = p / S:  dp = (dw - sum(w dw)) / S on the chosen, else 0
// (unnormalized: dp = dw);  dlogits = p (dp - sum(p dp)).
void CpuBackend::RouteBackward(const TensorView& logits, const RouterOptions& options, const Routing& routing,
                               const TensorView& dweights, const TensorView& dlogits) {
  const int64_t num_experts = logits.shape[1], k = options.top_k;
  ForRange(logits.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    std::vector<float> probabilities(num_experts), dp(num_experts);
    for (int64_t row = first; row < first + count; ++row) {
      Softmax(logits.f32() + row * num_experts, num_experts, probabilities.data());
      const int32_t* own = I32(routing.experts) + row * k;
      const float* dw = dweights.f32() + row * k;
      const float divisor = Divisor(probabilities.data(), own, options);
      double mean = 0;
      for (int64_t i = 0; i < k && options.normalize; ++i) mean += probabilities[own[i]] / divisor * dw[i];
      std::fill(dp.begin(), dp.end(), 0.0f);
      for (int64_t i = 0; i < k; ++i) dp[own[i]] = (dw[i] - static_cast<float>(mean)) / divisor;
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += probabilities[own[i]] * dp[own[i]];
      float* out = dlogits.f32() + row * num_experts;
      for (int64_t i = 0; i < num_experts; ++i) out[i] = probabilities[i] * (dp[i] - static_cast<float>(sum));
    }
  });
}

void CpuBackend::GatherChoices(const TensorView& x, const Routing& routing, const TensorView& y) {
  const int64_t width = x.shape[1], k = routing.experts.shape[1];
  ForRange(y.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      std::memcpy(y.f32() + i * width, x.f32() + I32(routing.order)[i] / k * width, width * sizeof(float));
    }
  });
}

void CpuBackend::CombineChoices(const TensorView& x, const Routing& routing, const TensorView& factors,
                                const TensorView& y) {
  const int64_t width = y.shape[1], k = routing.experts.shape[1];
  ForRange(y.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t choice = first * k; choice < (first + count) * k; ++choice) {
      const float factor = factors.data == nullptr ? 1.0f : factors.f32()[choice];
      const float* from = x.f32() + I32(routing.places)[choice] * width;
      float* to = y.f32() + choice / k * width;
      for (int64_t j = 0; j < width; ++j) to[j] += factor * from[j];
    }
  });
}

void CpuBackend::WeighChoicesBackward(const TensorView& x, const Routing& routing, const TensorView& dx,
                                      const TensorView& dweights) {
  const int64_t width = x.shape[1];
  ForRange(x.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      const int32_t choice = I32(routing.order)[i];
      float* gradient = dx.f32() + i * width;
      dweights.f32()[choice] = cpu::Dot(gradient, x.f32() + i * width, width);
      for (int64_t j = 0; j < width; ++j) gradient[j] *= routing.weights.f32()[choice];
    }
  });
}

void CpuBackend::ExpertLinear(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y) {
  ForExperts(routing, [&](int64_t expert, int64_t first, int64_t count) {
    Linear(x.Rows(first, count), *w[expert], Accumulate::kNo, y.Rows(first, count));
  });
}

void CpuBackend::ExpertLinearBackwardInput(const TensorView& dy, ExpertMatrices w, const Routing& routing,
                                           Accumulate mode, const TensorView& dx) {
  ForExperts(routing, [&](int64_t expert, int64_t first, int64_t count) {
    LinearBackwardInput(dy.Rows(first, count), *w[expert], mode, dx.Rows(first, count));
  });
}

}  // namespace tandem
