// How tokens are drawn from rows of logits: what a request asks for, what a row's sequence adds to it, what comes back.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace tandem {

struct TokenBias {
  int32_t token = 0;
  float bias = 0;  // added to the logit
};

// The lists that few requests bring. Ids are in the model's vocabulary: the front end checks.
struct TokenRules {
  std::vector<TokenBias> logit_bias;            // each token once
  std::vector<int32_t> allowed_token_ids;       // empty: all
  std::vector<std::vector<int32_t>> bad_words;  // none empty; none of these sequences is ever completed
};

// Order of application, that of transformers' generate (and of vLLM, but that min_p comes there before top_k):
//   logit_bias; repetition, frequency, presence penalty; bad_words, allowed_token_ids, end tokens before min_tokens,
//   the token mask; temperature; top_k; top_p; min_p; typical_p; each on what the ones before it left.
// Of tokens that are equal where a cut falls, those with the lower ids are kept.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy, the first of the most probable
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1): tokens of less than min_p times the largest probability are left out
  float typical_p = 1.0f;           // (0, 1], Meister et al. 2023
  float repetition_penalty = 1.0f;  // > 0, of tokens of prompt and completion (Keskar et al. 2019)
  float frequency_penalty = 0.0f;   // times the token's count in the completion, taken off its logit
  float presence_penalty = 0.0f;    // taken off the logit of a token of the completion
  uint64_t seed = 0;  // set by the front end; token i is a pure function of (logits, parameters, seed, i, history)
  std::optional<int> num_logprobs;  // with each token its log probability and those of so many most probable ones
  std::shared_ptr<const TokenRules> rules;  // shared by all of a request's samples; null: none

  bool has_penalties() const { return repetition_penalty != 1.0f || frequency_penalty != 0 || presence_penalty != 0; }
};

// Tokens that may come next, computed on another thread while the forward pass runs (structured output).
class TokenMaskSource {
 public:
  virtual ~TokenMaskSource() = default;
  // Blocks until the mask is there. Bit id % 32 of word id / 32 is set where the token may be drawn; ids beyond the
  // last word may not. The same words in every call, valid as long as this object. Thread-safe.
  virtual std::span<const uint32_t> Wait() = 0;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

// Of one position, by the model's own distribution: before bias, penalties, masks and temperature.
struct TokenLogprobs {
  int32_t token = 0;
  float logprob = std::numeric_limits<float>::quiet_NaN();  // of the token; NaN: none
  std::vector<TokenLogprob> top;  // the most probable tokens, most probable first, equals by id
};

// In place of a sampled token's id:
inline constexpr int32_t kLogitsNotFinite = -1;  // a NaN or +inf in the row
inline constexpr int32_t kNoTokenAllowed = -2;   // the rules leave no token

}  // namespace tandem
