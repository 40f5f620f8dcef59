// The bytes that a single token adds to a text, whole characters or not: what streaming decoding, which waits for whole
// characters, cannot say.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace tandem {

// How a decoder spells bytes in tokens.
struct ByteSpelling {
  bool byte_level = false;     // GPT-2's alphabet
  bool byte_fallback = false;  // <0x0A>
  bool metaspace = false;      // U+2581 is a space
};

// From tokenizer.json's decoder, which may be null or a Sequence.
ByteSpelling FindByteSpelling(const Json* decoder);

// Of a token of the model, not an added one.
std::string BytesOfToken(std::string_view token, const ByteSpelling& spelling);

}  // namespace tandem
