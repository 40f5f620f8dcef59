#include "kernels/norm.h"

#include "backend/cuda/cuda_backend.h"

namespace tandem {
namespace {

kernels::NormArgs ArgsOf(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
                         const TensorView& y) {
  return {.type = cuda::TypeOf(x.dtype),
          .x = x.data,
          .weight = weight.f32(),
          .y = y.data,
          .accumulate = mode == Accumulate::kYes,
          .rows = x.rows(),
          .columns = x.shape[1],
          .epsilon = epsilon};
}

kernels::NormBackwardArgs BackwardArgsOf(const TensorView& x, const TensorView& weight, float epsilon,
                                         const TensorView& dy, Accumulate mode, const TensorView& dx) {
  return {.type = cuda::TypeOf(x.dtype),
          .x = x.data,
          .weight = weight.f32(),
          .dy = dy.data,
          .dx = dx.data,
          .accumulate = mode == Accumulate::kYes,
          .rows = x.rows(),
          .columns = x.shape[1],
          .epsilon = epsilon};
}

}  // namespace

void CudaBackend::RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
                          const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "RmsNorm");
  runtime_.Launch(kernels::LaunchRmsNorm, ArgsOf(x, weight, epsilon, mode, y));
}

void CudaBackend::RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                                  Accumulate mode, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "RmsNormBackward");
  runtime_.Launch(kernels::LaunchRmsNormBackward, BackwardArgsOf(x, weight, epsilon, dy, mode, dx));
}

void CudaBackend::LayerNorm(const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon,
                            Accumulate mode, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "LayerNorm");
  kernels::NormArgs args = ArgsOf(x, weight, epsilon, mode, y);
  args.bias = bias.f32();
  runtime_.Launch(kernels::LaunchLayerNorm, args);
}

void CudaBackend::LayerNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                                    Accumulate mode, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "LayerNormBackward");
  runtime_.Launch(kernels::LaunchLayerNormBackward, BackwardArgsOf(x, weight, epsilon, dy, mode, dx));
}

}  // namespace tandem
