// GPT-2's byte alphabet: every byte as one printable character, so that a byte-level vocabulary is plain text.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// Appends each byte of `text` as its character: printable Latin-1 stands for itself, the rest for U+0100 and up.
void AppendByteLevel(std::string_view text, std::string* out);

// The bytes that a token of that alphabet stands for; the token's own bytes where any character is outside of it.
std::string BytesOfByteLevel(std::string_view token);

}  // namespace tandem
