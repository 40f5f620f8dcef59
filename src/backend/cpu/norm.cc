#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

float ReciprocalRms(const float* x, int64_t hidden, float epsilon) {
  return 1.0f / std::sqrt(static_cast<float>(cpu::SumOfSquares(x, hidden) / static_cast<double>(hidden)) + epsilon);
}

}  // namespace

void CpuBackend::RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& y) {
  const int64_t hidden = x.shape[1];
  ForRange(x.rows(), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float* row = x.f32() + r * hidden;
      cpu::ScaleBy(row, weight.f32(), ReciprocalRms(row, hidden, epsilon), hidden, y.f32() + r * hidden);
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

}  // namespace tandem
