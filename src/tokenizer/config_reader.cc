#include "tokenizer/config_reader.h"

#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem {

template <typename T>
absl::StatusOr<T> ReadField(const Json& object, const std::string& path, std::string_view key,
                            std::optional<T> fallback) {
  if (!object.is_object()) return WrongType(path, object, absl::StrCat("an object with ", std::string(key)));
  absl::StatusOr<T> value = JsonGet<T>(object, key, std::move(fallback));
  if (value.ok()) return value;
  return absl::InvalidArgumentError(absl::StrCat(path, path.empty() ? "" : ".", value.status().message()));
}

template absl::StatusOr<bool> ReadField(const Json&, const std::string&, std::string_view, std::optional<bool>);
template absl::StatusOr<int64_t> ReadField(const Json&, const std::string&, std::string_view, std::optional<int64_t>);
template absl::StatusOr<double> ReadField(const Json&, const std::string&, std::string_view, std::optional<double>);
template absl::StatusOr<std::string> ReadField(const Json&, const std::string&, std::string_view,
                                               std::optional<std::string>);

absl::StatusOr<const Json*> ReadArray(const Json& object, const std::string& path, std::string_view key) {
  const std::string name = absl::StrCat(path, path.empty() ? "" : ".", std::string(key));
  const Json* value = FindField(object, key);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(name, " is missing, want an array"));
  if (!value->is_array()) return WrongType(name, *value, "an array");
  return value;
}

const Json* FindField(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(key));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::Status WrongType(const std::string& path, const Json& got, std::string_view want) {
  return absl::InvalidArgumentError(absl::StrCat(path, " is ", DescribeJson(got), ", want ", std::string(want)));
}

absl::Status NotSupported(const std::string& path, std::string_view value, const std::vector<std::string>& supported) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is '", std::string(value), "', which is not supported", SuggestNames(value, supported)));
}

absl::StatusOr<PatternConfig> ReadPattern(const Json& object, const std::string& path, std::string_view key) {
  const std::string name = absl::StrCat(path, ".", std::string(key));
  const Json* pattern = FindField(object, key);
  if (pattern == nullptr) return absl::InvalidArgumentError(absl::StrCat(name, " is missing, want an object"));
  if (!pattern->is_object()) return WrongType(name, *pattern, "an object with String or Regex");
  PatternConfig config;
  config.is_regex = FindField(*pattern, "Regex") != nullptr;
  ASSIGN_OR_RETURN(config.text, ReadField<std::string>(*pattern, name, config.is_regex ? "Regex" : "String"));
  return config;
}

absl::StatusOr<MetaspaceConfig> ReadMetaspace(const Json& config, const std::string& path) {
  MetaspaceConfig metaspace;
  ASSIGN_OR_RETURN(metaspace.replacement, ReadField<std::string>(config, path, "replacement"));
  ASSIGN_OR_RETURN(const bool add_prefix_space, ReadField<bool>(config, path, "add_prefix_space", true));
  ASSIGN_OR_RETURN(metaspace.prepend_scheme,
                   ReadField<std::string>(config, path, "prepend_scheme", add_prefix_space ? "always" : "never"));
  if (CountCodePoints(metaspace.replacement) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ".replacement is '", metaspace.replacement, "', want one character"));
  }
  const std::string& scheme = metaspace.prepend_scheme;
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return NotSupported(path + ".prepend_scheme", scheme, {"always", "first", "never"});
  }
  return metaspace;
}

}  // namespace tandem
