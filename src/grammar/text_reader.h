// What the parsers of grammars and regular expressions share: a cursor over UTF-8 text, escapes, errors with position.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "grammar/char_set.h"

namespace tandem::grammar {

struct Counts {
  int min = 0, max = 0;  // max may be kUnbounded
};

class TextReader {
 public:
  static constexpr int kMaxCount = 1'000'000;

  explicit TextReader(std::string_view text) : text_(text) {}
  bool done() const { return at_ >= text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool LooksAt(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  void Skip(size_t bytes) { at_ += bytes; }
  bool Take(std::string_view word) {
    const bool taken = LooksAt(word);
    if (taken) at_ += word.size();
    return taken;
  }
  size_t at() const { return at_; }

  // INVALID_ARGUMENT "line 1, column 5: what".
  absl::Status Error(std::string_view what) const { return ErrorAt(at_, what); }
  absl::Status ErrorAt(size_t byte, std::string_view what) const;

  absl::StatusOr<char32_t> TakeChar();
  // `digits` hexadecimal digits, a code point that is no surrogate.
  absl::StatusOr<char32_t> TakeHex(int digits);
  // "{m}", "{m,}", "{m,n}" or "{,n}" at the cursor; nullopt, and nothing taken, where it is none of them.
  absl::StatusOr<std::optional<Counts>> TakeCounts();

 private:
  std::optional<int64_t> TakeNumber();
  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace tandem::grammar
