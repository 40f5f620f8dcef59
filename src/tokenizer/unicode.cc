#include "tokenizer/unicode.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "tokenizer/utf8.h"

namespace tandem {
namespace {

struct Range {
  char32_t first, last;
};
// Every `step`-th character of [first, last] maps to itself plus `difference`.
struct CaseRange {
  char32_t first, last;
  int step, difference;
};
struct SpecialCase {
  char32_t from, to[3];  // 0: no more
};

#include "tokenizer/unicode_tables.inc"

template <size_t n>
bool In(const Range (&ranges)[n], char32_t c) {
  const Range* above = std::upper_bound(ranges, ranges + n, c, [](char32_t x, const Range& r) { return x < r.first; });
  return above != ranges && c <= (above - 1)->last;
}

template <size_t n, size_t m>
void AppendMapped(const CaseRange (&ranges)[n], const SpecialCase (&specials)[m], char32_t c, std::string* out) {
  const SpecialCase* special =
      std::lower_bound(specials, specials + m, c, [](const SpecialCase& s, char32_t x) { return s.from < x; });
  if (special != specials + m && special->from == c) {
    for (const char32_t to : special->to) {
      if (to != 0) AppendUtf8(to, out);
    }
    return;
  }
  const CaseRange* above =
      std::upper_bound(ranges, ranges + n, c, [](char32_t x, const CaseRange& r) { return x < r.first; });
  if (above != ranges) {
    const CaseRange& range = *(above - 1);
    if (c <= range.last && (c - range.first) % range.step == 0) c += range.difference;
  }
  AppendUtf8(c, out);
}

template <size_t n, size_t m>
std::string MapCharacters(const CaseRange (&ranges)[n], const SpecialCase (&specials)[m], std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendMapped(ranges, specials, c.code_point, &out);
    at += std::max(1, c.num_bytes);
  }
  return out;
}

// A sigma that ends a word: a cased letter before it, none behind it, looking through what has no case.
bool IsFinalSigma(std::string_view text, size_t at) {
  size_t before = at;
  bool cased = false;
  while (before > 0) {
    before = LastCharacter(text.substr(0, before));
    const char32_t c = DecodeUtf8(text, before).code_point;
    if (In(kCaseIgnorable, c)) continue;
    cased = In(kCased, c);
    break;
  }
  if (!cased) return false;
  for (size_t behind = at + 2; behind < text.size();) {
    const Utf8Char c = DecodeUtf8(text, behind);
    if (!In(kCaseIgnorable, c.code_point)) return !In(kCased, c.code_point);
    behind += c.num_bytes;
  }
  return true;
}

void AppendLowerAt(std::string_view text, size_t at, char32_t c, std::string* out) {
  if (c == 0x3A3) {
    AppendUtf8(IsFinalSigma(text, at) ? 0x3C2 : 0x3C3, out);
  } else {
    AppendMapped(kLowerCase, kLowerSpecial, c, out);
  }
}

}  // namespace

bool IsWhiteSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPythonSpace(char32_t c) {
  return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}
bool IsPrintable(char32_t c) {
  return c < 0x7F ? c >= 0x20 : In(kPrintable, c);
}
bool IsAlpha(char32_t c) {
  return In(kAlpha, c);
}
bool IsDecimal(char32_t c) {
  return In(kDecimal, c);
}
bool IsDigit(char32_t c) {
  return In(kDigit, c);
}
bool IsNumeric(char32_t c) {
  return In(kNumeric, c);
}
bool IsUpper(char32_t c) {
  return In(kUpper, c);
}
bool IsLower(char32_t c) {
  return In(kLower, c);
}

std::string ToLower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendLowerAt(text, at, c.code_point, &out);
    at += std::max(1, c.num_bytes);
  }
  return out;
}

std::string LowerCharacters(std::string_view text) {
  return MapCharacters(kLowerCase, kLowerSpecial, text);
}
std::string ToUpper(std::string_view text) {
  return MapCharacters(kUpperCase, kUpperSpecial, text);
}

std::string ToTitle(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (in_word) {
      AppendLowerAt(text, at, c.code_point, &out);
    } else {
      AppendMapped(kTitleCase, kTitleSpecial, c.code_point, &out);
    }
    in_word = In(kCased, c.code_point);
    at += std::max(1, c.num_bytes);
  }
  return out;
}

std::string ToCapitalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (at == 0) {
      AppendMapped(kTitleCase, kTitleSpecial, c.code_point, &out);
    } else {
      AppendLowerAt(text, at, c.code_point, &out);
    }
    at += std::max(1, c.num_bytes);
  }
  return out;
}

}  // namespace tandem
