// Reads the goldens that make.py wrote (manifest.json says what each is). A golden that is not there ends the test
// binary.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "store/safetensors.h"

namespace tandem {

// "models/gqa_untied" -> its path on this machine: TANDEM_SOURCE_DIR in the environment says where the sources are on
// another than where this was compiled.
inline std::string GoldenPath(std::string_view name) {
  const char* moved = std::getenv("TANDEM_SOURCE_DIR");
  return std::string(moved != nullptr ? moved : TANDEM_SOURCE_DIR) + "/tests/golden/" + std::string(name);
}

inline Json GoldenJson(std::string_view name) {
  const auto text = ReadFile(GoldenPath(name));
  CHECK(text.ok()) << text.status();
  const auto json = ParseJson(*text);
  CHECK(json.ok()) << json.status();
  return *json;
}

// One golden.safetensors, by the directory that holds it: Golden("models/gqa_untied").
class Golden {
 public:
  explicit Golden(std::string_view directory) {
    auto file = SafetensorsFile::Open(GoldenPath(directory) + "/golden.safetensors");
    CHECK(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  TensorView view(std::string_view name) const {  // only read
    const auto view = file_->Find(name);
    CHECK(view.ok()) << view.status();
    return *view;
  }
  std::span<const float> floats(std::string_view name) const { return span<float>(name, DType::kF32); }
  std::vector<int32_t> ints(std::string_view name) const {
    const auto values = span<int32_t>(name, DType::kI32);
    return {values.begin(), values.end()};
  }
  bool Contains(std::string_view name) const { return file_->Contains(name); }

 private:
  template <typename T>
  std::span<const T> span(std::string_view name, DType dtype) const {
    const TensorView tensor = view(name);
    CHECK(tensor.dtype == dtype) << std::string(name) << " is " << Name(tensor.dtype);
    return {static_cast<const T*>(tensor.data), static_cast<size_t>(tensor.shape.num_elements())};
  }
  std::unique_ptr<SafetensorsFile> file_;
};

// The largest error against the largest value: of one row of logits, say. A NaN gives infinity.
inline double RelativeError(std::span<const float> got, std::span<const float> want) {
  CHECK_EQ(got.size(), want.size());
  double error = 0, largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    error = std::max(error, difference);
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return error == 0 ? 0 : error / largest;
}

// The largest RelativeError of any row of `row_elements`.
inline double WorstRowError(std::span<const float> got, std::span<const float> want, size_t row_elements) {
  CHECK_EQ(got.size(), want.size());
  CHECK_EQ(got.size() % row_elements, 0u);
  double worst = 0;
  for (size_t i = 0; i < got.size(); i += row_elements) {
    worst = std::max(worst, RelativeError(got.subspan(i, row_elements), want.subspan(i, row_elements)));
  }
  return worst;
}

}  // namespace tandem
