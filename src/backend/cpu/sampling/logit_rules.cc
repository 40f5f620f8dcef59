#include "backend/cpu/sampling/logit_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace tandem::cpu {
namespace {

// Positive logits are divided, negative ones multiplied, so that a penalty > 1 always makes the token less probable.
float Penalized(float logit, float penalty) {
  const float changed = logit < 0 ? logit * penalty : logit / penalty;
  return std::min(changed, std::numeric_limits<float>::max());
}

void ApplyPenalties(const SampleRequest& request, std::span<float> logits, std::vector<int32_t>* counts) {
  const SamplingParams& params = request.params;
  const std::span<const int32_t> history = request.history;
  if (counts->size() < logits.size()) counts->resize(logits.size());
  constexpr int32_t kInPrompt = 1, kPerUse = 2;  // bit 0, and the token's uses in the completion above it
  for (const int32_t token : history.first(request.num_prompt_tokens)) (*counts)[token] = kInPrompt;
  for (const int32_t token : history.subspan(request.num_prompt_tokens)) (*counts)[token] += kPerUse;
  for (const int32_t token : history) {
    const int32_t count = std::exchange((*counts)[token], 0);
    if (count == 0) continue;  // seen before
    float& logit = logits[token];
    logit = Penalized(logit, params.repetition_penalty);
    const int32_t uses = count / kPerUse;
    logit -= params.frequency_penalty * static_cast<float>(uses);
    if (uses > 0) logit -= params.presence_penalty;
  }
}

void BanBadWords(const TokenRules& rules, std::span<const int32_t> history, std::span<float> logits) {
  for (const std::vector<int32_t>& word : rules.bad_words) {
    const std::span<const int32_t> begin = std::span(word).first(word.size() - 1);
    if (begin.size() > history.size()) continue;
    if (std::equal(begin.begin(), begin.end(), history.end() - static_cast<int64_t>(begin.size()))) {
      logits[word.back()] = -INFINITY;
    }
  }
}

void KeepAllowed(const std::vector<int32_t>& allowed, std::span<float> logits) {
  std::vector<float> kept(allowed.size());
  for (size_t i = 0; i < allowed.size(); ++i) kept[i] = logits[allowed[i]];
  std::fill(logits.begin(), logits.end(), -INFINITY);
  for (size_t i = 0; i < allowed.size(); ++i) logits[allowed[i]] = kept[i];
}

void ApplyMask(std::span<const uint32_t> mask, std::span<float> logits) {
  constexpr size_t kBits = 32;
  for (size_t first = 0; first < logits.size(); first += kBits) {
    const std::span<float> group = logits.subspan(first, std::min(kBits, logits.size() - first));
    const uint32_t word = first / kBits < mask.size() ? mask[first / kBits] : 0;
    if (word == ~uint32_t{0}) continue;
    if (word == 0) {  // most of them, and the rest of a large vocabulary
      std::fill(group.begin(), group.end(), -INFINITY);
      continue;
    }
    for (size_t i = 0; i < group.size(); ++i) {
      if ((word >> i & 1) == 0) group[i] = -INFINITY;
    }
  }
}

}  // namespace

bool HasLogitRules(const SampleRequest& request) {
  return request.params.rules != nullptr || request.params.has_penalties() || !request.banned.empty() ||
         request.mask != nullptr;
}

void ApplyLogitRules(const SampleRequest& request, std::span<float> logits, std::vector<int32_t>* counts) {
  const TokenRules* const rules = request.params.rules.get();
  if (rules != nullptr) {
    for (const TokenBias& bias : rules->logit_bias) logits[bias.token] += bias.bias;
  }
  if (request.params.has_penalties()) ApplyPenalties(request, logits, counts);
  if (rules != nullptr) {
    BanBadWords(*rules, request.history, logits);
    if (!rules->allowed_token_ids.empty()) KeepAllowed(rules->allowed_token_ids, logits);
  }
  for (const int32_t token : request.banned) logits[token] = -INFINITY;
  if (request.mask != nullptr) ApplyMask(request.mask->Wait(), logits);
}

}  // namespace tandem::cpu
