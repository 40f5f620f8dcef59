// What a tensor is between folders: a borrowed pointer, a dtype and a shape. Rows are contiguous; dim 0 is the
// outermost. Storage is owned elsewhere (src/tensor/tensor.h, src/store).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace tandem {

enum class DType : uint8_t { kF32, kBf16, kF16, kI32 };

constexpr size_t ByteSize(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kI32 ? 4 : 2;
}

constexpr std::string_view Name(DType dtype) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "f16", "i32"};
  return kNames[static_cast<int>(dtype)];
}

// Up to four dimensions.
class Shape {
 public:
  static constexpr int kMaxRank = 4;
  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<int64_t> dims) {
    for (const int64_t dim : dims) {
      if (rank_ < kMaxRank) dims_[rank_++] = dim;
    }
  }
  constexpr int rank() const { return rank_; }
  constexpr int64_t operator[](int i) const { return dims_[i]; }
  constexpr int64_t num_elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  constexpr bool operator==(const Shape&) const = default;
  std::string ToString() const {  // "[2, 3]"
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
    return text + "]";
  }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// Borrowed, contiguous; on the device of the backend it is given to, or on the host where a function says so. Functions
// that only read a view say so.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  float* f32() const { return static_cast<float*>(data); }
  int64_t rows() const { return shape[0]; }
  int64_t row_elements() const { return shape[0] == 0 ? 0 : shape.num_elements() / shape[0]; }
  size_t size_bytes() const { return static_cast<size_t>(shape.num_elements()) * ByteSize(dtype); }

  // Rows [first, first + count).
  TensorView Rows(int64_t first, int64_t count) const {
    TensorView view = *this;
    int64_t inner = 1;
    for (int i = 1; i < shape.rank(); ++i) inner *= shape[i];
    view.data = static_cast<char*>(data) + static_cast<size_t>(first * inner) * ByteSize(dtype);
    switch (shape.rank()) {
      case 1:
        view.shape = {count};
        break;
      case 2:
        view.shape = {count, shape[1]};
        break;
      case 3:
        view.shape = {count, shape[1], shape[2]};
        break;
      default:
        view.shape = {count, shape[1], shape[2], shape[3]};
    }
    return view;
  }
};

inline TensorView View(float* data, Shape shape) {
  return {data, DType::kF32, shape};
}

}  // namespace tandem
