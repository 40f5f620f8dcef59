// Routed experts: which rows go to which expert, and moving rows there and back. Row by row, so that a row's experts
// and sums do not depend on the rest of the batch.
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

}  // namespace

void CpuBackend::Route(const TensorView& logits, const RouterOptions& options, std::span<int32_t> experts,
                       std::span<float> weights) {
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
      int32_t* own = experts.data() + row * k;
      std::copy_n(order.begin(), k, own);
      const float divisor = Divisor(probabilities.data(), own, options);
      for (int64_t i = 0; i < k; ++i) weights[row * k + i] = probabilities[own[i]] / divisor;
    }
  });
}

// With p = softmax(logits), S the sum of the chosen p, w = p / S:  dp = (dw - sum(w dw)) / S on the chosen, else 0
// (unnormalized: dp = dw);  dlogits = p (dp - sum(p dp)).
void CpuBackend::RouteBackward(const TensorView& logits, const RouterOptions& options, std::span<const int32_t> experts,
                               std::span<const float> dweights, const TensorView& dlogits) {
  const int64_t num_experts = logits.shape[1], k = options.top_k;
  ForRange(logits.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    std::vector<float> probabilities(num_experts), dp(num_experts);
    for (int64_t row = first; row < first + count; ++row) {
      Softmax(logits.f32() + row * num_experts, num_experts, probabilities.data());
      const int32_t* own = experts.data() + row * k;
      const float* dw = dweights.data() + row * k;
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

void CpuBackend::GatherRows(const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  const int64_t width = x.shape[1];
  ForRange(static_cast<int64_t>(rows.size()), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      std::memcpy(y.f32() + i * width, x.f32() + rows[i] * width, width * sizeof(float));
    }
  });
}

void CpuBackend::ScatterAddRows(const TensorView& x, std::span<const int32_t> rows, std::span<const float> factors,
                                const TensorView& y) {
  const int64_t width = x.shape[1];
  ForRange(static_cast<int64_t>(rows.size()), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      const float* from = x.f32() + i * width;
      float* to = y.f32() + rows[i] * width;
      for (int64_t j = 0; j < width; ++j) to[j] += factors[i] * from[j];
    }
  });
}

void CpuBackend::ScaleRows(std::span<const float> factors, const TensorView& x) {
  const int64_t width = x.shape[1];
  ForRange(x.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      for (int64_t j = 0; j < width; ++j) x.f32()[i * width + j] *= factors[i];
    }
  });
}

void CpuBackend::RowDots(const TensorView& x, const TensorView& y, std::span<float> dots) {
  const int64_t width = x.shape[1];
  ForRange(x.rows(), kRowGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      dots[i] = cpu::Dot(x.f32() + i * width, y.f32() + i * width, width);
    }
  });
}

}  // namespace tandem
