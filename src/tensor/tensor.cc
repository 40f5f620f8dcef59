#include "tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace tandem {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Shapes that come from a file were checked where they were read; here an overflow is a programmer's error.
size_t CheckedSizeBytes(DType dtype, const Shape& shape) {
  size_t bytes = ByteSize(dtype);
  for (int i = 0; i < shape.rank(); ++i) {
    CHECK_GE(shape[i], 0) << "in shape " << shape.ToString();
    CHECK(!__builtin_mul_overflow(bytes, static_cast<size_t>(shape[i]), &bytes)) << shape.ToString();
  }
  return bytes;
}

}  // namespace

Tensor Tensor::Empty(DType dtype, Shape shape) {
  const size_t bytes = CheckedSizeBytes(dtype, shape);
  CHECK_LE(bytes, SIZE_MAX - kAlignment);
  // aligned_alloc wants a multiple of the alignment; a tensor without elements still owns a line, so data is never
  // null.
  const size_t rounded = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  Tensor tensor;
  const bool huge = rounded >= 2 * kHugePage;
  tensor.data_.reset(std::aligned_alloc(huge ? kHugePage : kAlignment, rounded));
  CHECK(tensor.data_ != nullptr) << "out of memory: " << bytes << " bytes for " << Name(dtype) << shape.ToString();
  // Streams of weights run a quarter faster from huge pages. A hint: whether the system follows it changes no result.
  if (huge) madvise(tensor.data_.get(), rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::Zeros(DType dtype, Shape shape) {
  Tensor tensor = Empty(dtype, shape);
  std::memset(tensor.data_.get(), 0, tensor.size_bytes());
  return tensor;
}

Tensor Tensor::CopyOf(const TensorView& source) {
  Tensor tensor = Empty(source.dtype, source.shape);
  if (tensor.size_bytes() > 0) std::memcpy(tensor.data_.get(), source.data, tensor.size_bytes());
  return tensor;
}

Tensor::Tensor(Tensor&& other) noexcept
    : data_(std::move(other.data_)), dtype_(other.dtype_), shape_(std::exchange(other.shape_, Shape())) {}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  data_ = std::move(other.data_);
  dtype_ = other.dtype_;
  shape_ = std::exchange(other.shape_, Shape());
  return *this;
}

float* Tensor::f32() const {
  CHECK(dtype_ == DType::kF32) << "got " << Name(dtype_);
  return static_cast<float*>(data_.get());
}

}  // namespace tandem
