#include "serve/core/token_rules.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

absl::Status CheckCount(std::string_view field, size_t count, size_t most) {
  if (count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), " has ", count, " entries, want at most ", most));
}

absl::Status AddSequence(const std::string& field, std::vector<int32_t> tokens, int vocab, TokenRules& rules) {
  if (tokens.empty()) return absl::InvalidArgumentError(absl::StrCat(field, " has no token, want at least 1"));
  if (tokens.size() > kMaxBadWordTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has ", tokens.size(), " tokens, want at most ", kMaxBadWordTokens));
  }
  for (const int32_t token : tokens) RETURN_IF_ERROR(CheckTokenId(field, token, vocab));
  std::vector<std::vector<int32_t>>& words = rules.bad_words;
  if (std::find(words.begin(), words.end(), tokens) == words.end()) words.push_back(std::move(tokens));
  return absl::OkStatus();
}

absl::Status AddBadWord(const std::string& field, const std::string& word, const Tokenizer& tokenizer, int vocab,
                        TokenRules& rules) {
  if (word.empty()) return absl::InvalidArgumentError(absl::StrCat(field, " is empty, want a string"));
  if (word.size() > kMaxBadWordBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has ", word.size(), " bytes, want at most ", kMaxBadWordBytes));
  }
  RETURN_IF_ERROR(CheckUtf8(field, word));
  ASSIGN_OR_RETURN(std::vector<int32_t> bare, tokenizer.Encode(word, SpecialTokens::kNone));
  RETURN_IF_ERROR(AddSequence(field, std::move(bare), vocab, rules));
  ASSIGN_OR_RETURN(std::vector<int32_t> spaced, tokenizer.Encode(absl::StrCat(" ", word), SpecialTokens::kNone));
  return AddSequence(field, std::move(spaced), vocab, rules);
}

absl::Status FillBadWords(const GenerationInput& input, const std::vector<std::vector<int32_t>>& default_bad_sequences,
                          const Tokenizer& tokenizer, int vocab, TokenRules& rules) {
  if (input.bad_words.empty() && input.bad_token_sequences.empty()) {
    for (const std::vector<int32_t>& sequence : default_bad_sequences) {
      // One with an id beyond the vocabulary is never completed.
      const bool drawable = std::all_of(sequence.begin(), sequence.end(), [vocab](int32_t id) { return id < vocab; });
      if (drawable) rules.bad_words.push_back(sequence);
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckCount("bad_words", input.bad_words.size(), kMaxBadWords));
  RETURN_IF_ERROR(CheckCount("bad_token_sequences", input.bad_token_sequences.size(), kMaxBadSequences));
  for (size_t i = 0; i < input.bad_words.size(); ++i) {
    RETURN_IF_ERROR(AddBadWord(absl::StrCat("bad_words[", i, "]"), input.bad_words[i], tokenizer, vocab, rules));
  }
  for (size_t i = 0; i < input.bad_token_sequences.size(); ++i) {
    RETURN_IF_ERROR(
        AddSequence(absl::StrCat("bad_token_sequences[", i, "]"), input.bad_token_sequences[i], vocab, rules));
  }
  return CheckCount("bad_words with bad_token_sequences", rules.bad_words.size(), kMaxBadSequences);
}

}  // namespace

absl::Status CheckTokenId(std::string_view field, int32_t token, int vocab) {
  if (token >= 0 && token < vocab) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is ", token, ", want a token id of the model: 0 to ", vocab - 1));
}

absl::Status CheckLogprobs(std::string_view field, const std::optional<int>& value) {
  return value.has_value() ? CheckRange(field, *value, 0, kMaxLogprobs) : absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const TokenRules>> ResolveTokenRules(
    const GenerationInput& input, const std::vector<std::vector<int32_t>>& default_bad_sequences,
    const Tokenizer& tokenizer, int vocab) {
  if (input.logit_bias.empty() && input.allowed_token_ids.empty() && input.bad_words.empty() &&
      input.bad_token_sequences.empty() && default_bad_sequences.empty()) {
    return nullptr;
  }
  auto rules = std::make_shared<TokenRules>();
  RETURN_IF_ERROR(CheckCount("logit_bias", input.logit_bias.size(), kMaxLogitBiases));
  for (const TokenBias& bias : input.logit_bias) {
    RETURN_IF_ERROR(CheckTokenId("logit_bias' token", bias.token, vocab));
    RETURN_IF_ERROR(
        CheckRange(absl::StrCat("logit_bias of token ", bias.token), bias.bias, -kMaxLogitBias, kMaxLogitBias));
  }
  RETURN_IF_ERROR(CheckCount("allowed_token_ids", input.allowed_token_ids.size(), kMaxAllowedTokens));
  for (size_t i = 0; i < input.allowed_token_ids.size(); ++i) {
    RETURN_IF_ERROR(CheckTokenId(absl::StrCat("allowed_token_ids[", i, "]"), input.allowed_token_ids[i], vocab));
  }
  rules->logit_bias = input.logit_bias;
  rules->allowed_token_ids = input.allowed_token_ids;
  RETURN_IF_ERROR(FillBadWords(input, default_bad_sequences, tokenizer, vocab, *rules));
  return rules;
}

}  // namespace tandem
