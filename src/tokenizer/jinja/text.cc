#include "tokenizer/jinja/text.h"

#include <algorithm>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

bool IsStripped(std::string_view character, std::optional<std::string_view> characters) {
  if (!characters.has_value()) return IsPythonSpace(DecodeUtf8(character, 0).code_point);
  return characters->find(character) != characters->npos;
}

bool EndsLine(char32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::vector<std::string_view> SplitOnSpace(std::string_view text, int64_t max_split) {
  std::vector<std::string_view> parts;
  text = Strip(text, std::nullopt, Side::kLeft);
  while (!text.empty()) {
    if (max_split >= 0 && static_cast<int64_t>(parts.size()) == max_split) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Char c = DecodeUtf8(text, end);
      if (IsPythonSpace(c.code_point)) break;
      end += std::max(1, c.num_bytes);
    }
    parts.push_back(text.substr(0, end));
    text = Strip(text.substr(end), std::nullopt, Side::kLeft);
  }
  return parts;
}

std::vector<std::string_view> SplitOnSpaceFromRight(std::string_view text, int64_t max_split) {
  std::vector<std::string_view> parts;
  text = Strip(text, std::nullopt, Side::kRight);
  while (!text.empty()) {
    if (max_split >= 0 && static_cast<int64_t>(parts.size()) == max_split) {
      parts.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      const size_t last = LastCharacter(text.substr(0, begin));
      if (IsPythonSpace(DecodeUtf8(text, last).code_point)) break;
      begin = last;
    }
    parts.push_back(text.substr(begin));
    text = Strip(text.substr(0, begin), std::nullopt, Side::kRight);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

std::string_view Strip(std::string_view text, std::optional<std::string_view> characters, Side side) {
  while (side != Side::kRight && !text.empty()) {
    const size_t length = std::max(1, DecodeUtf8(text, 0).num_bytes);
    if (!IsStripped(text.substr(0, length), characters)) break;
    text.remove_prefix(length);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t last = LastCharacter(text);
    if (!IsStripped(text.substr(last), characters)) break;
    text = text.substr(0, last);
  }
  return text;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    size_t end = at + std::max(1, c.num_bytes);
    if (EndsLine(c.code_point)) {
      if (c.code_point == '\r' && text.substr(end, 1) == "\n") ++end;
      lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator, int64_t max_split,
                                    bool from_right) {
  if (!separator.has_value()) {
    return from_right ? SplitOnSpaceFromRight(text, max_split) : SplitOnSpace(text, max_split);
  }
  std::vector<std::string_view> parts;
  const auto may_split = [&] { return max_split < 0 || static_cast<int64_t>(parts.size()) < max_split; };
  if (from_right) {
    size_t at = text.npos;
    while (may_split() && (at = text.rfind(*separator)) != text.npos) {
      parts.push_back(text.substr(at + separator->size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t at = 0;
  while (may_split() && (at = text.find(*separator)) != text.npos) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  parts.push_back(text);
  return parts;
}

size_t ReplacedSize(std::string_view text, std::string_view old, std::string_view with, int64_t max_count) {
  size_t count = 0;
  if (old.empty()) {
    count = CountCodePoints(text) + 1;
  } else {
    for (size_t at = text.find(old); at != text.npos; at = text.find(old, at + old.size())) ++count;
  }
  if (max_count >= 0) count = std::min<size_t>(count, max_count);
  return text.size() + count * with.size() - count * old.size();
}

std::string ReplaceText(std::string_view text, std::string_view old, std::string_view with, int64_t max_count) {
  std::string out;
  int64_t left = max_count < 0 ? INT64_MAX : max_count;
  if (old.empty()) {  // before each character and at the end
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::max(1, DecodeUtf8(text, at).num_bytes);
      if (left-- > 0) out.append(with);
      out.append(text.substr(at, length));
      at += length;
    }
    return left > 0 ? out.append(with) : out;
  }
  size_t at = 0;
  for (; left > 0; --left) {
    const size_t found = text.find(old, at);
    if (found == text.npos) break;
    out.append(text.substr(at, found - at)).append(with);
    at = found + old.size();
  }
  return out.append(text.substr(at));
}

}  // namespace tandem::jinja
