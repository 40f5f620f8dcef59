// UTF-8: validation, code points, and the replacement of broken bytes as Rust's from_utf8_lossy and Python do it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tandem {

struct Utf8Char {
  char32_t code_point = 0;
  int num_bytes = 0;  // 0: no valid character starts here
};

// The character that starts at text[at]; shortest form, no surrogates, at most U+10FFFF.
Utf8Char DecodeUtf8(std::string_view text, size_t at);

void AppendUtf8(char32_t code_point, std::string* out);

// The first byte that is not part of a valid character; npos where there is none.
size_t FindInvalidUtf8(std::string_view text);

// How many bytes at the end are a character that more bytes could still complete: 0 to 3.
size_t UnfinishedUtf8Suffix(std::string_view text);

// A copy with U+FFFD for each maximal part of a broken character.
std::string ReplaceInvalidUtf8(std::string_view text);

size_t CountCodePoints(std::string_view text);

// The byte at which the character `count` characters behind byte `from` begins; the end where there are fewer.
size_t ByteOfCodePoint(std::string_view text, size_t from, size_t count);

// Where the last character of `text`, not empty, begins.
size_t LastCharacter(std::string_view text);

}  // namespace tandem
