// Sets of Unicode code points, and the byte sequences of UTF-8 that they stand for. Surrogates are in no set.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::grammar {

struct CodePoints {
  char32_t first = 0, last = 0;  // both included
  bool operator==(const CodePoints&) const = default;
};

struct ByteRange {
  uint8_t first = 0, last = 0;  // both included
  bool operator==(const ByteRange&) const = default;
};

class CharSet {
 public:
  CharSet() = default;
  CharSet(std::initializer_list<CodePoints> ranges);
  static CharSet Any() { return CharSet({{0, 0x10FFFF}}); }

  void Add(CodePoints range);
  void Add(const CharSet& other);
  CharSet Negated() const;
  CharSet Intersected(const CharSet& other) const { return (Union(Negated(), other.Negated())).Negated(); }
  bool empty() const { return ranges_.empty(); }
  const std::vector<CodePoints>& ranges() const { return ranges_; }  // sorted, apart from each other

  // Sequences of one to four byte ranges; together they match exactly the encodings of the set's members.
  std::vector<std::vector<ByteRange>> Utf8() const;

 private:
  static CharSet Union(CharSet a, const CharSet& b) {
    a.Add(b);
    return a;
  }
  void Normalize();
  std::vector<CodePoints> ranges_;
};

void AppendUtf8(char32_t code_point, std::string* out);

// The code point at text[*at], which moves behind it; nullopt where none is encoded there.
std::optional<char32_t> TakeUtf8(std::string_view text, size_t* at);

}  // namespace tandem::grammar
