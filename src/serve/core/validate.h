// Checks that every front end makes before the engine sees a value. Messages: field, got, want.
#pragma once

#include <cmath>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem {

// low <= value <= high; a NaN is out of every range. "rank is 0, want 1 to 1024".
template <typename T>
absl::Status CheckRange(std::string_view field, T value, T low, T high) {
  static_assert(std::is_arithmetic_v<T>);
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), " is ", value, ", want ", low, " to ", high));
}

// low < value <= high.
absl::Status CheckAbove(std::string_view field, double value, double low, double high);

absl::Status CheckTemperature(double value);        // finite, [0, 100]
absl::Status CheckTopP(double value);               // (0, 1]
absl::Status CheckMinP(double value);               // [0, 1]
absl::Status CheckTypicalP(double value);           // (0, 1]
absl::Status CheckRepetitionPenalty(double value);  // [0.01, 100]

absl::Status CheckUtf8(std::string_view field, std::string_view text);

// An adapter's name is also the name of a directory: 1 to 64 of letters, digits, '.', '_', '-', not starting with '.'
// or '-'.
absl::Status CheckAdapterName(std::string_view field, std::string_view name);

}  // namespace tandem
