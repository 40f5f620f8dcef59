#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

// torch.nn.utils.clip_grad_norm_ adds this to the norm that it divides by.
constexpr double kClipEpsilon = 1e-6;

}  // namespace

void CpuBackend::ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options,
                               const TensorView& scale, std::span<double> norm) {
  double squares = 0;
  for (const TensorView& gradient : gradients) {
    squares += cpu::SumOfSquares(gradient.f32(), gradient.shape.num_elements());
  }
  norm[0] = std::sqrt(squares) / options.divisor;
  const double clip = options.max_norm > 0 ? std::min(1.0, options.max_norm / (norm[0] + kClipEpsilon)) : 1.0;
  *scale.f32() = std::isfinite(norm[0]) ? static_cast<float>(clip / options.divisor)  //
                                        : std::numeric_limits<float>::quiet_NaN();
}

void CpuBackend::AdamW(std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) {
  const float factor = *scale.f32();
  if (std::isnan(factor)) return;
  const float decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
  const float beta1 = static_cast<float>(step.beta1), rest1 = static_cast<float>(1.0 - step.beta1);
  const float beta2 = static_cast<float>(step.beta2), rest2 = static_cast<float>(1.0 - step.beta2);
  const float step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, step.step)));
  const float root2 = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, step.step)));
  const float epsilon = static_cast<float>(step.epsilon);
  for (const TrainedTensor& tensor : tensors) {
    ForRange(tensor.value.shape.num_elements(), 4096, [&](int64_t first, int64_t count, int) {
      float *p = tensor.value.f32() + first, *m = tensor.m.f32() + first, *v = tensor.v.f32() + first;
      float* g = tensor.gradient.f32() + first;
      for (int64_t i = 0; i < count; ++i) {
        const float slope = g[i] * factor;
        m[i] = beta1 * m[i] + rest1 * slope;
        v[i] = beta2 * v[i] + rest2 * slope * slope;
        p[i] = p[i] * decay - step_size * m[i] / (std::sqrt(v[i]) / root2 + epsilon);
        g[i] = 0;
      }
    });
  }
}

}  // namespace tandem
