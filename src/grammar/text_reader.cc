#include "grammar/text_reader.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/rules.h"

namespace tandem::grammar {

absl::Status TextReader::ErrorAt(size_t byte, std::string_view what) const {
  const std::string_view before = text_.substr(0, std::min(byte, text_.size()));
  const size_t newline = before.rfind('\n');
  const size_t column = before.size() - (newline == before.npos ? 0 : newline + 1) + 1;
  return absl::InvalidArgumentError(absl::StrCat("line ", 1 + std::count(before.begin(), before.end(), '\n'),
                                                 ", column ", column, ": ", std::string(what)));
}

absl::StatusOr<char32_t> TextReader::TakeChar() {
  if (done()) return Error("the text ends here, want a character");
  const std::optional<char32_t> c = TakeUtf8(text_, &at_);
  if (!c.has_value()) return Error("not UTF-8");
  return *c;
}

absl::StatusOr<char32_t> TextReader::TakeHex(int digits) {
  char32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = absl::ascii_tolower(peek());
    if (!absl::ascii_isxdigit(c)) return Error(absl::StrCat("want ", digits, " hexadecimal digits"));
    value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    Skip(1);
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return Error("not a Unicode character");
  return value;
}

std::optional<int64_t> TextReader::TakeNumber() {
  if (!absl::ascii_isdigit(peek())) return std::nullopt;
  int64_t value = 0;
  for (; absl::ascii_isdigit(peek()); Skip(1)) value = std::min<int64_t>(value * 10 + (peek() - '0'), 1 << 30);
  return value;
}

absl::StatusOr<std::optional<Counts>> TextReader::TakeCounts() {
  const size_t begin = at_;
  Skip(1);
  const std::optional<int64_t> low = TakeNumber();
  const bool comma = Take(",");
  const std::optional<int64_t> high = comma ? TakeNumber() : low;
  if ((!low.has_value() && !(comma && high.has_value())) || !Take("}")) {
    at_ = begin;
    return std::nullopt;
  }
  const int64_t min = low.value_or(0);
  if (min > kMaxCount || high.value_or(0) > kMaxCount) {
    return ErrorAt(begin, absl::StrCat("a repetition count is larger than ", kMaxCount));
  }
  if (high.has_value() && *high < min)
    return ErrorAt(begin, absl::StrCat("counts {", min, ",", *high, "} are reversed"));
  return Counts{static_cast<int>(min), high.has_value() ? static_cast<int>(*high) : kUnbounded};
}

}  // namespace tandem::grammar
