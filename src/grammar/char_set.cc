#include "grammar/char_set.h"

#include <algorithm>

namespace tandem::grammar {
namespace {

using Sequences = std::vector<std::vector<ByteRange>>;

// [first, last] lie in one length of encoding. Where their trailing bytes do not span all of 80..BF, the range is cut
// so that they do.
void AppendSequences(char32_t first, char32_t last, int num_bytes, Sequences* out) {
  for (int i = 1; i < num_bytes; ++i) {
    const char32_t mask = (char32_t{1} << (6 * i)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      AppendSequences(first, first | mask, num_bytes, out);
      return AppendSequences((first | mask) + 1, last, num_bytes, out);
    }
    if ((last & mask) != mask) {
      AppendSequences(first, (last & ~mask) - 1, num_bytes, out);
      return AppendSequences(last & ~mask, last, num_bytes, out);
    }
  }
  std::string low, high;
  AppendUtf8(first, &low);
  AppendUtf8(last, &high);
  std::vector<ByteRange> sequence;
  for (size_t i = 0; i < low.size(); ++i) {
    sequence.push_back({static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])});
  }
  out->push_back(std::move(sequence));
}

}  // namespace

CharSet::CharSet(std::initializer_list<CodePoints> ranges) : ranges_(ranges) {
  Normalize();
}

void CharSet::Add(CodePoints range) {
  ranges_.push_back(range);
  Normalize();
}

void CharSet::Add(const CharSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  Normalize();
}

void CharSet::Normalize() {
  std::vector<CodePoints> parts;
  for (const CodePoints& range : ranges_) {  // without the surrogates
    if (range.first < 0xD800) parts.push_back({range.first, std::min<char32_t>(range.last, 0xD7FF)});
    if (range.last > 0xDFFF) {
      parts.push_back({std::max<char32_t>(range.first, 0xE000), std::min<char32_t>(range.last, 0x10FFFF)});
    }
  }
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  ranges_.clear();
  for (const CodePoints& range : parts) {
    if (range.first > range.last) continue;
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

CharSet CharSet::Negated() const {
  CharSet result;
  char32_t next = 0;
  for (const CodePoints& range : ranges_) {
    if (range.first > next) result.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= 0x10FFFF) result.ranges_.push_back({next, 0x10FFFF});
  result.Normalize();
  return result;
}

Sequences CharSet::Utf8() const {
  constexpr char32_t kLast[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
  Sequences sequences;
  for (const CodePoints& range : ranges_) {
    char32_t first = range.first;
    for (int length = 1; length <= 4 && first <= range.last; ++length) {
      if (first > kLast[length - 1]) continue;
      const char32_t last = std::min(range.last, kLast[length - 1]);
      AppendSequences(first, last, length, &sequences);
      first = last + 1;
    }
  }
  return sequences;
}

void AppendUtf8(char32_t c, std::string* out) {
  const auto tail = [&](int shift) { out->push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3F))); };
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
    tail(0);
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    tail(6);
    tail(0);
  } else {
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::optional<char32_t> TakeUtf8(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u; };
  const uint32_t lead = byte(*at);
  const int length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (*at >= text.size() || (lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return std::nullopt;
  char32_t c = length == 1 ? lead : lead & (0xFF >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if ((byte(*at + i) & 0xC0) != 0x80) return std::nullopt;
    c = (c << 6) | (byte(*at + i) & 0x3F);
  }
  constexpr char32_t kFirst[] = {0, 0x80, 0x800, 0x10000};
  if (c < kFirst[length - 1] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return std::nullopt;
  *at += length;
  return c;
}

}  // namespace tandem::grammar
