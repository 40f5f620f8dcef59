// The lists of a generation request that speak of single tokens: checked against the vocabulary, words made token
// sequences. INVALID_ARGUMENT names field, got and want.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "serve/core/generation.h"
#include "tandem/sampling.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

inline constexpr int kMaxLogprobs = 20;
inline constexpr size_t kMaxLogitBiases = 1024;
inline constexpr float kMaxLogitBias = 100;
inline constexpr size_t kMaxAllowedTokens = 65536;
inline constexpr size_t kMaxBadWords = 256;
inline constexpr size_t kMaxBadSequences = 1024;  // bad_words' included
inline constexpr size_t kMaxBadWordTokens = 128;  // of one sequence
inline constexpr size_t kMaxBadWordBytes = 1024;

// "stop_token_ids[1] is 900, want a token id of the model: 0 to 511"
absl::Status CheckTokenId(std::string_view field, int32_t token, int vocab);

// Unset, or 0 to kMaxLogprobs.
absl::Status CheckLogprobs(std::string_view field, const std::optional<int>& value);

// Null where the request brings none. A bad word becomes two token sequences, at the start of a text and behind a
// space, as vLLM does; where both are the same, one. A request that brings no bad words and no bad sequences has the
// default ones, the model's.
absl::StatusOr<std::shared_ptr<const TokenRules>> ResolveTokenRules(
    const GenerationInput& input, const std::vector<std::vector<int32_t>>& default_bad_sequences,
    const Tokenizer& tokenizer, int vocab);

}  // namespace tandem
