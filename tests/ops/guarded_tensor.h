// A tensor in the memory of the backend under test, between two rows of guard floats that nobody may write.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "tandem/backend.h"

namespace tandem::optest {

class GuardedTensor {
 public:
  // Poisoned: every element a NaN, so that an operation must write what is to be read.
  GuardedTensor(Backend& backend, Shape shape) : backend_(backend), shape_(shape) {
    std::vector<float> all(shape.num_elements() + 2 * kGuard, std::numeric_limits<float>::quiet_NaN());
    for (int i = 0; i < kGuard; ++i) all[i] = all[all.size() - 1 - i] = kGuardValue;
    data_ = static_cast<float*>(backend.Allocate(all.size() * sizeof(float)));
    std::memcpy(data_, all.data(), all.size() * sizeof(float));
  }
  GuardedTensor(const GuardedTensor&) = delete;
  GuardedTensor& operator=(const GuardedTensor&) = delete;
  ~GuardedTensor() { backend_.Free(data_); }

  TensorView view() const { return View(data_ + kGuard, shape_); }

  template <typename T>
  void Write(const std::vector<T>& values) {
    std::vector<float> floats(values.begin(), values.end());
    std::memcpy(data_ + kGuard, floats.data(), floats.size() * sizeof(float));
  }
  std::vector<float> Read() const {
    std::vector<float> values(shape_.num_elements());
    std::memcpy(values.data(), data_ + kGuard, values.size() * sizeof(float));
    return values;
  }
  bool GuardsIntact() const {
    const auto intact = [](float value) { return value == kGuardValue; };
    const float* end = data_ + kGuard + shape_.num_elements();
    return std::all_of(data_, data_ + kGuard, intact) && std::all_of(end, end + kGuard, intact);
  }

 private:
  static constexpr int kGuard = 32;  // two panels; keeps the tensor on a 64-byte boundary
  static constexpr float kGuardValue = -12345.5f;

  Backend& backend_;
  Shape shape_;
  float* data_ = nullptr;
};

}  // namespace tandem::optest
