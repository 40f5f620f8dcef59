#include "tokenizer/jinja/string_literal.h"

#include <charconv>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

constexpr std::string_view kSimple = "\\'\"abfnrtv\n";
constexpr std::string_view kMeaning = "\\'\"\a\b\f\n\r\t\v";

// `digits` hexadecimal digits from `at` on.
absl::StatusOr<uint32_t> Hex(std::string_view literal, size_t at, size_t digits) {
  uint32_t value = 0;
  const std::string_view text = literal.substr(std::min(at, literal.size()), digits);
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() < digits || parsed.ptr != text.data() + digits || value > 0x10FFFF) {
    return absl::InvalidArgumentError(absl::StrCat("the escape '\\", std::string(literal.substr(at - 1, digits + 1)),
                                                   "' is broken, want ", digits, " hexadecimal digits"));
  }
  return value;
}

bool IsSurrogate(uint32_t c) {
  return c >= 0xD800 && c <= 0xDFFF;
}

}  // namespace

absl::StatusOr<std::string> DecodeStringLiteral(std::string_view literal) {
  std::string out;
  for (size_t at = 0; at < literal.size();) {
    const char c = literal[at++];
    if (c != '\\' || at == literal.size()) {
      out.push_back(c);
      continue;
    }
    const char kind = literal[at++];
    if (const size_t simple = kSimple.find(kind); simple != kSimple.npos) {
      if (kind != '\n') out.push_back(kMeaning[simple]);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
      ASSIGN_OR_RETURN(const uint32_t value, Hex(literal, at, digits));
      if (IsSurrogate(value)) return absl::InvalidArgumentError("a surrogate is no character");
      AppendUtf8(value, &out);
      at += digits;
    } else if (kind >= '0' && kind <= '7') {
      uint32_t value = kind - '0';
      for (int i = 0; i < 2 && at < literal.size() && literal[at] >= '0' && literal[at] <= '7'; ++i) {
        value = value * 8 + (literal[at++] - '0');
      }
      AppendUtf8(value, &out);
    } else if (kind == 'N') {
      return absl::InvalidArgumentError("\\N{...} is not supported");
    } else {
      out.append({'\\', kind});
    }
  }
  return out;
}

}  // namespace tandem::jinja
