#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

float ReciprocalRms(const float* x, int64_t hidden, float epsilon) {
  return 1.0f / std::sqrt(static_cast<float>(cpu::SumOfSquares(x, hidden) / static_cast<double>(hidden)) + epsilon);
}

struct Moments {
  double mean, reciprocal_deviation;
};

// In double, two passes: rows of large mean and small spread lose nothing.
Moments MomentsOf(const float* x, int64_t hidden, float epsilon) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < hidden; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(hidden);
  for (int64_t i = 0; i < hidden; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(hidden) + epsilon)};
}

}  // namespace

void CpuBackend::RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
                         const TensorView& y) {
  const int64_t hidden = x.shape[1];
  ForRange(x.rows(), 4, [&](int64_t first, int64_t count, int) {
    std::vector<float> normed(mode == Accumulate::kYes ? hidden : 0);
    for (int64_t r = first; r < first + count; ++r) {
      const float* row = x.f32() + r * hidden;
      float* out = y.f32() + r * hidden;
      const float scale = ReciprocalRms(row, hidden, epsilon);
      cpu::ScaleBy(row, weight.f32(), scale, hidden, normed.empty() ? out : normed.data());
      if (!normed.empty()) cpu::Add(normed.data(), hidden, out);
    }
  });
}

// With r = 1 / rms: dx = r (dy * w) - x r^3 / hidden * sum(dy * w * x).
void CpuBackend::RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                                 Accumulate mode, const TensorView& dx) {
  const int64_t hidden = x.shape[1];
  const float* w = weight.f32();
  ForRange(x.rows(), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float *row = x.f32() + r * hidden, *drow = dy.f32() + r * hidden;
      float* out = dx.f32() + r * hidden;
      const float scale = ReciprocalRms(row, hidden, epsilon);
      double dot = 0;
      for (int64_t i = 0; i < hidden; ++i) dot += drow[i] * w[i] * row[i];
      const float pull = static_cast<float>(dot * scale * scale * scale / static_cast<double>(hidden));
      for (int64_t i = 0; i < hidden; ++i) {
        const float value = scale * drow[i] * w[i] - pull * row[i];
        out[i] = mode == Accumulate::kYes ? out[i] + value : value;
      }
    }
  });
}

void CpuBackend::LayerNorm(const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon,
                           Accumulate mode, const TensorView& y) {
  const int64_t hidden = x.shape[1];
  ForRange(x.rows(), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float* row = x.f32() + r * hidden;
      float* out = y.f32() + r * hidden;
      const Moments moments = MomentsOf(row, hidden, epsilon);
      for (int64_t i = 0; i < hidden; ++i) {
        const double unit = (row[i] - moments.mean) * moments.reciprocal_deviation;
        const float value = static_cast<float>(unit) * weight.f32()[i] + bias.f32()[i];
        out[i] = mode == Accumulate::kYes ? out[i] + value : value;
      }
    }
  });
}

// With u the normalised row, g = dy * w and r = 1 / deviation: dx = r (g - mean(g) - u mean(g u)).
void CpuBackend::LayerNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                                   Accumulate mode, const TensorView& dx) {
  const int64_t hidden = x.shape[1];
  const float* w = weight.f32();
  ForRange(x.rows(), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float *row = x.f32() + r * hidden, *drow = dy.f32() + r * hidden;
      float* out = dx.f32() + r * hidden;
      const Moments moments = MomentsOf(row, hidden, epsilon);
      const auto unit = [&](int64_t i) { return (row[i] - moments.mean) * moments.reciprocal_deviation; };
      double mean = 0, pull = 0;
      for (int64_t i = 0; i < hidden; ++i) {
        const double g = static_cast<double>(drow[i]) * w[i];
        mean += g;
        pull += g * unit(i);
      }
      mean /= static_cast<double>(hidden);
      pull /= static_cast<double>(hidden);
      for (int64_t i = 0; i < hidden; ++i) {
        const double g = static_cast<double>(drow[i]) * w[i];
        const float value = static_cast<float>(moments.reciprocal_deviation * (g - mean - unit(i) * pull));
        out[i] = mode == Accumulate::kYes ? out[i] + value : value;
      }
    }
  });
}

}  // namespace tandem
