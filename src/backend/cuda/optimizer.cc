#include "kernels/optimizer.h"

#include <cmath>

#include "backend/cuda/cuda_backend.h"

namespace tandem {

double CudaBackend::SumOfSquares(const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "SumOfSquares");
  const int64_t n = x.shape.num_elements();
  double* const sum = runtime_.Scratch<double>(1);
  runtime_.Launch(
      kernels::LaunchSumOfSquares,
      kernels::SumOfSquaresArgs{
          .x = x.f32(), .n = n, .partial = runtime_.Scratch<double>(kernels::NumSquareBlocks(n)), .sum = sum});
  double result = 0;
  runtime_.Fetch(sum, std::span(&result, 1));
  return result;
}

void CudaBackend::AdamW(const TensorView& parameter, const TensorView& gradient, const TensorView& m,
                        const TensorView& v, const AdamWStep& step) {
  const cuda::Runtime::Op op(runtime_, "AdamW");
  const kernels::AdamWNumbers numbers = {
      .decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
      .beta1 = static_cast<float>(step.beta1),
      .rest1 = static_cast<float>(1.0 - step.beta1),
      .beta2 = static_cast<float>(step.beta2),
      .rest2 = static_cast<float>(1.0 - step.beta2),
      .step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, step.step))),
      .root2 = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, step.step))),
      .epsilon = static_cast<float>(step.epsilon),
      .gradient_scale = static_cast<float>(step.gradient_scale)};
  runtime_.Launch(kernels::LaunchAdamW, kernels::AdamWArgs{.parameter = parameter.f32(),
                                                           .gradient = gradient.f32(),
                                                           .m = m.f32(),
                                                           .v = v.f32(),
                                                           .n = parameter.shape.num_elements(),
                                                           .numbers = numbers});
}

}  // namespace tandem
