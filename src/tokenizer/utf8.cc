#include "tokenizer/utf8.h"

#include <algorithm>
#include <cstdint>

namespace tandem {
namespace {

// What the lead byte asks for: the length and the range of the second byte (which excludes overlong forms and
// surrogates).
struct Lead {
  int num_bytes = 0;
  uint8_t low = 0x80, high = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  return {0};
}

// How many bytes from `at` on are a valid beginning of a character; `complete` where they are a whole one.
int ValidPrefix(std::string_view text, size_t at, bool* complete) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[at]));
  *complete = false;
  if (lead.num_bytes == 0) return 0;
  int length = 1;
  while (length < lead.num_bytes && at + length < text.size()) {
    const uint8_t byte = static_cast<uint8_t>(text[at + length]);
    const uint8_t low = length == 1 ? lead.low : 0x80, high = length == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
    ++length;
  }
  *complete = length == lead.num_bytes;
  return length;
}

}  // namespace

Utf8Char DecodeUtf8(std::string_view text, size_t at) {
  const uint8_t first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {first, 1};
  bool complete = false;
  const int length = ValidPrefix(text, at, &complete);
  if (!complete) return {};
  char32_t code_point = first & (0xFF >> (length + 1));
  for (int i = 1; i < length; ++i) code_point = (code_point << 6) | (static_cast<uint8_t>(text[at + i]) & 0x3F);
  return {code_point, length};
}

void AppendUtf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

size_t FindInvalidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const int length = DecodeUtf8(text, at).num_bytes;
    if (length == 0) return at;
    at += length;
  }
  return text.npos;
}

size_t UnfinishedUtf8Suffix(std::string_view text) {
  for (size_t length = 1; length <= std::min<size_t>(3, text.size()); ++length) {
    const size_t at = text.size() - length;
    if ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) continue;
    bool complete = false;
    const size_t valid = ValidPrefix(text, at, &complete);
    return valid == length && !complete ? length : 0;
  }
  return 0;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  if (FindInvalidUtf8(text) == text.npos) return std::string(text);
  std::string out;
  out.reserve(text.size() + 8);
  for (size_t at = 0; at < text.size();) {
    bool complete = false;
    const int length = ValidPrefix(text, at, &complete);
    if (complete) {
      out.append(text.substr(at, length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    at += std::max(length, 1);
  }
  return out;
}

size_t CountCodePoints(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

size_t ByteOfCodePoint(std::string_view text, size_t from, size_t count) {
  size_t at = from;
  for (; count > 0 && at < text.size(); --count) {
    do {
      ++at;
    } while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  }
  return at;
}

size_t LastCharacter(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace tandem
