// A tensor in the memory of the backend under test, between two rows of guard values that nobody may write.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "tandem/backend.h"
#include "tensor/dtype.h"

namespace tandem::optest {

class GuardedTensor {
 public:
  // f32, bf16 or i32. Poisoned: every element a NaN, so that an operation must write what is to be read.
  GuardedTensor(Backend& backend, Shape shape, DType dtype = DType::kF32)
      : backend_(backend), shape_(shape), dtype_(dtype) {
    data_ = static_cast<char*>(backend.Allocate(total() * ByteSize(dtype)));
    std::vector<float> all(total(), std::numeric_limits<float>::quiet_NaN());
    for (int i = 0; i < kGuard; ++i) all[i] = all[all.size() - 1 - i] = kGuardValue;
    Put(all, 0);
  }
  GuardedTensor(const GuardedTensor&) = delete;
  GuardedTensor& operator=(const GuardedTensor&) = delete;
  ~GuardedTensor() { backend_.Free(data_); }

  TensorView view() const { return {data_ + kGuard * ByteSize(dtype_), dtype_, shape_}; }

  template <typename T>
  void Write(const std::vector<T>& values) {
    Put({values.begin(), values.end()}, kGuard);
  }
  std::vector<float> Read() const {
    const std::vector<float> all = ReadAll();
    return {all.begin() + kGuard, all.end() - kGuard};
  }
  bool GuardsIntact() const {
    const std::vector<float> all = ReadAll();
    const auto intact = [](float value) { return value == kGuardValue; };
    return std::all_of(all.begin(), all.begin() + kGuard, intact) && std::all_of(all.end() - kGuard, all.end(), intact);
  }

 private:
  static constexpr int kGuard = 32;                // two panels; keeps the tensor on a 64-byte boundary
  static constexpr float kGuardValue = -12288.0f;  // bf16 holds it
  static constexpr int32_t kUnwritten = -54321;    // where there are no NaNs

  int64_t total() const { return shape_.num_elements() + 2 * kGuard; }
  TensorView Range(int64_t first, int64_t count) const { return {data_ + first * ByteSize(dtype_), dtype_, {count}}; }

  void Put(std::vector<float> values, int64_t first) {
    const int64_t count = static_cast<int64_t>(values.size());
    if (dtype_ == DType::kI32) {
      for (float& value : values)
        value = std::bit_cast<float>(std::isnan(value) ? kUnwritten : static_cast<int32_t>(value));
    }
    std::vector<uint16_t> narrow(dtype_ == DType::kBf16 ? count : 0);
    if (!narrow.empty()) std::transform(values.begin(), values.end(), narrow.begin(), F32ToBf16);
    void* host = narrow.empty() ? static_cast<void*>(values.data()) : narrow.data();
    backend_.Upload({host, dtype_, {count}}, Range(first, count));
  }
  std::vector<float> ReadAll() const {
    std::vector<float> values(total());
    if (dtype_ != DType::kBf16) {
      backend_.Download(Range(0, total()), {values.data(), dtype_, {total()}});
      if (dtype_ == DType::kI32) {
        for (float& value : values) value = static_cast<float>(std::bit_cast<int32_t>(value));
      }
      return values;
    }
    std::vector<uint16_t> narrow(total());
    backend_.Download(Range(0, total()), {narrow.data(), dtype_, {total()}});
    std::transform(narrow.begin(), narrow.end(), values.begin(), Bf16ToF32);
    return values;
  }

  Backend& backend_;
  Shape shape_;
  DType dtype_;
  char* data_ = nullptr;
};

}  // namespace tandem::optest
