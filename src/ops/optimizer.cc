#include "ops/optimizer.h"

#include "ops/shapes.h"

namespace tandem::ops {

void ClipGradients(Backend& backend, std::span<const TensorView> gradients, const ClipOptions& options,
                   const TensorView& scale, std::span<double> norm) {
  for (const TensorView& gradient : gradients) CheckF32(gradient, gradient.shape, "gradient");
  CheckF32(scale, {1}, "scale");
  CHECK_EQ(norm.size(), 1u);
  CHECK_GT(options.divisor, 0);
  backend.ClipGradients(gradients, options, scale, norm);
}

void AdamW(Backend& backend, std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) {
  for (const TrainedTensor& tensor : tensors) {
    CheckF32(tensor.value, tensor.value.shape, "value");
    CheckF32(tensor.gradient, tensor.value.shape, "gradient");
    CheckF32(tensor.m, tensor.value.shape, "m");
    CheckF32(tensor.v, tensor.value.shape, "v");
  }
  CheckF32(scale, {1}, "scale");
  CHECK_GE(step.step, 1);
  backend.AdamW(tensors, step, scale);
}

}  // namespace tandem::ops
