// Which bytes of a text each token of its encoding stands for: turns ranges of text into a mask of tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

using ByteRange = std::pair<size_t, size_t>;  // [begin, end)

// For each token of tokens == Encode(text, kNone) the bytes that it covers, widened to whole characters: two tokens
// that share the bytes of one character both cover all of it. Found by decoding along the text; white space that no
// token decodes to (special tokens may swallow it) is covered by none. INVALID_ARGUMENT where the tokens do not decode
// to the text, as after a normalizer that rewrites it.
absl::StatusOr<std::vector<ByteRange>> TokenByteRanges(const Tokenizer& tokenizer, std::string_view text,
                                                       std::span<const int32_t> tokens);

// mask[i]: token i covers a byte of one of `wanted` (sorted, disjoint), so a token across a border counts, as for
// transformers' assistant masks.
std::vector<bool> TokensWithin(std::span<const ByteRange> tokens, std::span<const ByteRange> wanted);

}  // namespace tandem
