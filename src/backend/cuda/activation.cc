#include "backend/cuda/cuda_backend.h"

namespace tandem {

kernels::Activation cuda::KindOf(Activation kind) {
  switch (kind) {
    case Activation::kSilu:
      return kernels::Activation::kSilu;
    case Activation::kGeluTanh:
      return kernels::Activation::kGeluTanh;
    case Activation::kGelu:
      return kernels::Activation::kGelu;
    case Activation::kRelu:
      break;
  }
  return kernels::Activation::kRelu;
}

void CudaBackend::Activate(Activation kind, const TensorView& x, const TensorView& y) {
  ActivateMul(kind, x, {}, y);
}

void CudaBackend::ActivateBackward(Activation kind, const TensorView& x, const TensorView& dy, const TensorView& dx) {
  ActivateMulBackward(kind, x, {}, dy, dx, {});
}

void CudaBackend::ActivateMul(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "Activate");
  runtime_.Launch(kernels::LaunchActivate, kernels::ActivateArgs{.activation = cuda::KindOf(kind),
                                                                 .type = cuda::TypeOf(y.dtype),
                                                                 .n = y.shape.num_elements(),
                                                                 .x = gate.data,
                                                                 .up = up.data,
                                                                 .y = y.data});
}

void CudaBackend::ActivateMulBackward(Activation kind, const TensorView& gate, const TensorView& up,
                                      const TensorView& dy, const TensorView& dgate, const TensorView& dup) {
  const cuda::Runtime::Op op(runtime_, "ActivateBackward");
  runtime_.Launch(kernels::LaunchActivateBackward, kernels::ActivateBackwardArgs{.activation = cuda::KindOf(kind),
                                                                                 .type = cuda::TypeOf(dy.dtype),
                                                                                 .n = dy.shape.num_elements(),
                                                                                 .x = gate.data,
                                                                                 .up = up.data,
                                                                                 .dy = dy.data,
                                                                                 .dx = dgate.data,
                                                                                 .dup = dup.data});
}

void CudaBackend::Add(const TensorView& x, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "Add");
  runtime_.Launch(kernels::LaunchAdd, cuda::TypeOf(y.dtype), x.data, y.data, y.shape.num_elements());
}

void CudaBackend::AddBias(const TensorView& bias, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "AddBias");
  runtime_.Launch(
      kernels::LaunchAddBias,
      kernels::AddBiasArgs{
          .type = cuda::TypeOf(y.dtype), .bias = bias.f32(), .y = y.data, .rows = y.rows(), .columns = y.shape[1]});
}

void CudaBackend::Scale(float factor, const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "Scale");
  runtime_.Launch(kernels::LaunchScale, cuda::TypeOf(x.dtype), factor, x.data, x.shape.num_elements());
}

void CudaBackend::SoftCap(float cap, const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "SoftCap");
  runtime_.Launch(kernels::LaunchSoftCap, cuda::TypeOf(x.dtype), cap, x.data, x.shape.num_elements());
}

}  // namespace tandem
