// JSON without exceptions: parse with line and column, and typed reads that say what was got and what was wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace tandem {

using Json = nlohmann::json;

// Parses one JSON document. INVALID_ARGUMENT with line, column and reason; nesting deeper than 256 is refused.
absl::StatusOr<Json> ParseJson(std::string_view text);

// "a string", "an array", "the number 3": for messages.
std::string DescribeJson(const Json& value);

// object[key] as T. A missing key or null gives `fallback`, or INVALID_ARGUMENT where there is none; a wrong type is
// INVALID_ARGUMENT: "hidden_size is a string, want an integer". T: bool, int64_t, double, std::string.
template <typename T>
absl::StatusOr<T> JsonGet(const Json& object, std::string_view key, std::optional<T> fallback = std::nullopt);

extern template absl::StatusOr<bool> JsonGet(const Json&, std::string_view, std::optional<bool>);
extern template absl::StatusOr<int64_t> JsonGet(const Json&, std::string_view, std::optional<int64_t>);
extern template absl::StatusOr<double> JsonGet(const Json&, std::string_view, std::optional<double>);
extern template absl::StatusOr<std::string> JsonGet(const Json&, std::string_view, std::optional<std::string>);

}  // namespace tandem
