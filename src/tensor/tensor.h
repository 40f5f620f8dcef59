// Host memory of one tensor with its dtype and shape: the owner behind a TensorView.
#pragma once

#include <cstdlib>
#include <memory>

#include "tandem/tensor.h"

namespace tandem {

// Move-only; 64-byte aligned, so that rows of vectors start on a cache line. Constness is shallow, as in std::span:
// whoever holds a view may write. A default-constructed or moved-from Tensor has no memory and shape [].
class Tensor {
 public:
  static constexpr size_t kAlignment = 64;

  Tensor() = default;
  // All bits zero.
  static Tensor Zeros(DType dtype, Shape shape);
  // Uninitialised.
  static Tensor Empty(DType dtype, Shape shape);
  // A copy of the elements of `source`, which is only read and may have any alignment.
  static Tensor CopyOf(const TensorView& source);

  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;

  TensorView view() const { return {data_.get(), dtype_, shape_}; }
  // CHECKs that the dtype is kF32.
  float* f32() const;
  void* data() const { return data_.get(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t num_elements() const { return data_ == nullptr ? 0 : shape_.num_elements(); }
  size_t size_bytes() const { return static_cast<size_t>(num_elements()) * ByteSize(dtype_); }
  // Without memory: never given any, or moved from.
  bool empty() const { return data_ == nullptr; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> data_;
  DType dtype_ = DType::kF32;
  Shape shape_;
};

}  // namespace tandem
