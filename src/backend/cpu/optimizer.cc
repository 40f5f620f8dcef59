#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {

double CpuBackend::SumOfSquares(const TensorView& x) {
  return cpu::SumOfSquares(x.f32(), x.shape.num_elements());
}

void CpuBackend::AdamW(const TensorView& parameter, const TensorView& gradient, const TensorView& m,
                       const TensorView& v, const AdamWStep& step) {
  const float decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
  const float beta1 = static_cast<float>(step.beta1), rest1 = static_cast<float>(1.0 - step.beta1);
  const float beta2 = static_cast<float>(step.beta2), rest2 = static_cast<float>(1.0 - step.beta2);
  const float step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, step.step)));
  const float root2 = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, step.step)));
  const float epsilon = static_cast<float>(step.epsilon), scale = static_cast<float>(step.gradient_scale);
  ForRange(parameter.shape.num_elements(), 4096, [&](int64_t first, int64_t count, int) {
    float *p = parameter.f32() + first, *m1 = m.f32() + first, *m2 = v.f32() + first;
    const float* g = gradient.f32() + first;
    for (int64_t i = 0; i < count; ++i) {
      const float slope = g[i] * scale;
      m1[i] = beta1 * m1[i] + rest1 * slope;
      m2[i] = beta2 * m2[i] + rest2 * slope * slope;
      p[i] = p[i] * decay - step_size * m1[i] / (std::sqrt(m2[i]) / root2 + epsilon);
    }
  });
}

}  // namespace tandem
