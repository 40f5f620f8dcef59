// Python's str operations that filters and methods share. Texts are valid UTF-8; positions are bytes unless said
// otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::jinja {

enum class Side { kLeft, kRight, kBoth };

// str.strip: white space, or the characters of `characters`.
std::string_view Strip(std::string_view text, std::optional<std::string_view> characters, Side side);
// str.splitlines
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);
// str.split on white space or on `separator` (not empty); max_split < 0: all. `from_right`: str.rsplit.
std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator, int64_t max_split,
                                    bool from_right);
// How large str.replace(old, with) would make a text, and the text. max_count < 0: all.
size_t ReplacedSize(std::string_view text, std::string_view old, std::string_view with, int64_t max_count);
std::string ReplaceText(std::string_view text, std::string_view old, std::string_view with, int64_t max_count);

}  // namespace tandem::jinja
