#include "backend/device_tensor.h"

#include <utility>

namespace tandem {

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, Shape shape)
    : backend_(&backend), view_{nullptr, dtype, shape} {
  view_.data = backend.Allocate(view_.size_bytes());
}

DeviceTensor DeviceTensor::CopyOf(Backend& backend, const TensorView& host) {
  DeviceTensor tensor(backend, host.dtype, host.shape);
  backend.UploadFresh(host, tensor.view());
  return tensor;
}

DeviceTensor::DeviceTensor(DeviceTensor&& other) noexcept
    : backend_(std::exchange(other.backend_, nullptr)), view_(std::exchange(other.view_, {})) {}

DeviceTensor& DeviceTensor::operator=(DeviceTensor&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(view_, other.view_);
  return *this;
}

DeviceTensor::~DeviceTensor() {
  if (backend_ != nullptr) backend_->Free(view_.data);
}

}  // namespace tandem
