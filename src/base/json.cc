#include "base/json.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr int kMaxDepth = 256;

// Bounds nesting before the recursive parser sees the text; strings are skipped.
bool TooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

std::string Position(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const size_t line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  return absl::StrCat("line ", line, ", column ", before.size() - (newline == before.npos ? 0 : newline + 1) + 1);
}

template <typename T>
struct Reader;
template <>
struct Reader<bool> {
  static constexpr const char* kWant = "true or false";
  static bool Matches(const Json& v) { return v.is_boolean(); }
};
template <>
struct Reader<int64_t> {
  static constexpr const char* kWant = "an integer";
  static bool Matches(const Json& v) {
    if (v.is_number_unsigned()) return v.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    return v.is_number_integer();
  }
};
template <>
struct Reader<double> {
  static constexpr const char* kWant = "a number";
  static bool Matches(const Json& v) { return v.is_number(); }
};
template <>
struct Reader<std::string> {
  static constexpr const char* kWant = "a string";
  static bool Matches(const Json& v) { return v.is_string(); }
};

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (TooDeep(text)) return absl::InvalidArgumentError(absl::StrCat("nested deeper than ", kMaxDepth, " levels"));
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    std::string_view reason = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": keep the reason.
    if (const size_t at = reason.find(": "); at != reason.npos) reason.remove_prefix(at + 2);
    const size_t byte = error.byte > 0 ? error.byte - 1 : 0;
    return absl::InvalidArgumentError(absl::StrCat(Position(text, byte), ": ", std::string(reason)));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

std::string DescribeJson(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string: {
      const std::string& text = value.get_ref<const std::string&>();
      return text.size() <= 40 ? absl::StrCat("the string '", text, "'") : "a string";
    }
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float:
      return absl::StrCat("the number ", value.dump());
    default:
      return "binary data";
  }
}

template <typename T>
absl::StatusOr<T> JsonGet(const Json& object, std::string_view key, std::optional<T> fallback) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeJson(object), ", want an object with ", std::string(key)));
  }
  const auto found = object.find(std::string(key));
  if (found == object.end() || found->is_null()) {
    if (fallback.has_value()) return *fallback;
    return absl::InvalidArgumentError(absl::StrCat(std::string(key), " is missing, want ", Reader<T>::kWant));
  }
  if (!Reader<T>::Matches(*found)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(key), " is ", DescribeJson(*found), ", want ", Reader<T>::kWant));
  }
  return found->get<T>();
}

template absl::StatusOr<bool> JsonGet(const Json&, std::string_view, std::optional<bool>);
template absl::StatusOr<int64_t> JsonGet(const Json&, std::string_view, std::optional<int64_t>);
template absl::StatusOr<double> JsonGet(const Json&, std::string_view, std::optional<double>);
template absl::StatusOr<std::string> JsonGet(const Json&, std::string_view, std::optional<std::string>);

}  // namespace tandem
