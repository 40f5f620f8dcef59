// Typed reads of tokenizer.json whose errors name the field from the root on: "pre_tokenizer.pretokenizers[1].type".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace tandem {

// JsonGet with the field's full name in the error.
template <typename T>
absl::StatusOr<T> ReadField(const Json& object, const std::string& path, std::string_view key,
                            std::optional<T> fallback = std::nullopt);

extern template absl::StatusOr<bool> ReadField(const Json&, const std::string&, std::string_view, std::optional<bool>);
extern template absl::StatusOr<int64_t> ReadField(const Json&, const std::string&, std::string_view,
                                                  std::optional<int64_t>);
extern template absl::StatusOr<double> ReadField(const Json&, const std::string&, std::string_view,
                                                 std::optional<double>);
extern template absl::StatusOr<std::string> ReadField(const Json&, const std::string&, std::string_view,
                                                      std::optional<std::string>);

// object[key], which must be an array.
absl::StatusOr<const Json*> ReadArray(const Json& object, const std::string& path, std::string_view key);

// Null where the key is missing or null.
const Json* FindField(const Json& object, std::string_view key);

// "path is an X, want a Y".
absl::Status WrongType(const std::string& path, const Json& got, std::string_view want);

// "path is 'value', which is not supported; did you mean ...".
absl::Status NotSupported(const std::string& path, std::string_view value, const std::vector<std::string>& supported);

// object[key] of {"String": s} or {"Regex": s}, the way Split and Replace name what they look for.
struct PatternConfig {
  bool is_regex = false;
  std::string text;
};
absl::StatusOr<PatternConfig> ReadPattern(const Json& object, const std::string& path, std::string_view key);

// What pre-tokenizer and decoder of type Metaspace share.
struct MetaspaceConfig {
  std::string replacement;     // one character, "▁"
  std::string prepend_scheme;  // always, first or never
};
absl::StatusOr<MetaspaceConfig> ReadMetaspace(const Json& config, const std::string& path);

}  // namespace tandem
