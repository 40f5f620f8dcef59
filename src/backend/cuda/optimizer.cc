// Clipping and AdamW over all tensors at once. The norm steers the optimizer on the device; the host hears of it at
// Finish.
#include "kernels/optimizer.h"

#include <cmath>
#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace tandem {
namespace {

kernels::TrainedTensors ToDevice(cuda::Runtime& runtime, std::span<const kernels::TrainedTensor> tensors) {
  std::vector<kernels::TensorPart> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto count = static_cast<int>((tensors[i].n + kernels::kPartElements - 1) / kernels::kPartElements);
    for (int part = 0; part < count; ++part) parts.push_back({static_cast<int>(i), part});
  }
  return {.tensors = runtime.ToDevice(tensors).data(),
          .parts = runtime.ToDevice(std::span<const kernels::TensorPart>(parts)).data(),
          .num_parts = static_cast<int>(parts.size())};
}

}  // namespace

void CudaBackend::ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options,
                                const TensorView& scale, std::span<double> norm) {
  const cuda::Runtime::Op op(runtime_, "ClipGradients");
  std::vector<kernels::TrainedTensor> tensors;
  for (const TensorView& gradient : gradients) {
    tensors.push_back({.gradient = gradient.f32(), .n = gradient.shape.num_elements()});
  }
  const kernels::TrainedTensors of = ToDevice(runtime_, tensors);
  runtime_.Launch(kernels::LaunchClip,
                  kernels::ClipArgs{
                      .of = of,
                      .divisor = options.divisor,
                      .max_norm = options.max_norm,
                      .partial = runtime_.Scratch<double>(of.num_parts),
                      .norm = runtime_.Result<double>(1, [norm](std::span<const double> value) { norm[0] = value[0]; }),
                      .scale = scale.f32()});
}

void CudaBackend::AdamW(std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) {
  const cuda::Runtime::Op op(runtime_, "AdamW");
  std::vector<kernels::TrainedTensor> on_device;
  for (const TrainedTensor& tensor : tensors) {
    on_device.push_back({.value = tensor.value.f32(),
                         .gradient = tensor.gradient.f32(),
                         .m = tensor.m.f32(),
                         .v = tensor.v.f32(),
                         .n = tensor.value.shape.num_elements()});
  }
  const kernels::AdamWNumbers numbers = {
      .decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
      .beta1 = static_cast<float>(step.beta1),
      .rest1 = static_cast<float>(1.0 - step.beta1),
      .beta2 = static_cast<float>(step.beta2),
      .rest2 = static_cast<float>(1.0 - step.beta2),
      .step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, step.step))),
      .root2 = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, step.step))),
      .epsilon = static_cast<float>(step.epsilon)};
  runtime_.Launch(kernels::LaunchAdamW,
                  kernels::AdamWArgs{.of = ToDevice(runtime_, on_device), .numbers = numbers, .scale = scale.f32()});
}

}  // namespace tandem
