// Device memory of one tensor: the owner behind a TensorView that operations take. src/tensor's Tensor is its sibling
// on the host.
#pragma once

#include "tandem/backend.h"

namespace tandem {

// Move-only; freed through the backend it came from, which must outlive it. Constness is shallow, as in std::span. A
// default-constructed or moved-from DeviceTensor has no memory and shape [].
class DeviceTensor {
 public:
  DeviceTensor() = default;
  DeviceTensor(Backend& backend, DType dtype, Shape shape);  // zeroed
  // From any thread.
  static DeviceTensor CopyOf(Backend& backend, const TensorView& host);

  DeviceTensor(DeviceTensor&& other) noexcept;
  DeviceTensor& operator=(DeviceTensor&& other) noexcept;
  ~DeviceTensor();

  const TensorView& view() const { return view_; }
  const Shape& shape() const { return view_.shape; }
  bool empty() const { return view_.data == nullptr; }

 private:
  Backend* backend_ = nullptr;
  TensorView view_;
};

}  // namespace tandem
