#include "backend/cpu/sampling/token_sampler.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/sampling/logit_rules.h"
#include "backend/cpu/sampling/row_ops.h"
#include "backend/uniform.h"

namespace tandem::cpu {
namespace {

double SumOfWeights(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

}  // namespace

int32_t TokenSampler::Sample(const SampleRequest& request, std::span<float> logits, TokenLogprobs* logprobs) {
  const int64_t vocab = static_cast<int64_t>(logits.size());
  float max = MaxOrNan(logits.data(), vocab);
  if (std::isnan(max)) return kLogitsNotFinite;
  const bool wants_logprobs = request.params.num_logprobs.has_value();
  if (wants_logprobs) unchanged_.assign(logits.begin(), logits.end());
  if (HasLogitRules(request)) {
    ApplyLogitRules(request, logits, &counts_);
    max = MaxOrNan(logits.data(), vocab);
  }
  if (max == -INFINITY) return kNoTokenAllowed;
  const int32_t token = Draw(request, logits, max);
  if (wants_logprobs) *logprobs = Score(unchanged_, token, *request.params.num_logprobs);
  return token;
}

int32_t TokenSampler::Draw(const SampleRequest& request, std::span<const float> logits, float max) {
  const SamplingParams& params = request.params;
  const int64_t vocab = static_cast<int64_t>(logits.size());
  if (params.temperature == 0 || params.top_k == 1) return static_cast<int32_t>(Find(logits.data(), vocab, max));
  const double u = Uniform(params.seed, static_cast<uint64_t>(request.index));
  const bool truncates = (params.top_k > 0 && params.top_k < vocab) || params.top_p < 1.0f || params.min_p > 0.0f ||
                         params.typical_p < 1.0f;
  if (!truncates) return DrawFromAll(logits, max, params.temperature, u);
  Truncate(params, logits, max);
  // In the order of ids, which does not depend on how the selection moved them about.
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  // The first at which the running sum passes u times the total; the last one where rounding keeps it from that.
  const double bound = u * SumOfWeights(candidates_);
  double sum = 0;
  for (const Candidate& candidate : candidates_) {
    sum += candidate.weight;
    if (sum > bound) return candidate.id;
  }
  return candidates_.back().id;
}

int32_t TokenSampler::DrawFromAll(std::span<const float> logits, float max, float temperature, double u) {
  const int64_t vocab = static_cast<int64_t>(logits.size());
  weights_.resize(vocab);
  block_sums_.resize((vocab + kBlock - 1) / kBlock);
  const double bound = u * ExpWeights(logits.data(), vocab, max, temperature, weights_.data(), block_sums_.data());
  double sum = 0;
  int32_t last = -1;  // of any weight in the blocks looked at
  for (int64_t block = 0; block < static_cast<int64_t>(block_sums_.size()); ++block) {
    // A block's own sum in f32 may differ from the one that follows: the margin looks into one block too many.
    constexpr double kMargin = 1e-4;
    if (sum + block_sums_[block] * (1 + kMargin) <= bound && last >= 0) {
      sum += block_sums_[block];
      continue;
    }
    double inside = sum;
    for (int64_t i = block * kBlock; i < std::min(vocab, (block + 1) * kBlock); ++i) {
      if (weights_[i] == 0) continue;
      inside += weights_[i];
      last = static_cast<int32_t>(i);
      if (inside > bound) return last;
    }
    sum += block_sums_[block];
  }
  return last;
}

// Fills candidates_ with what top_k, top_p, min_p and typical_p leave; at least one.
void TokenSampler::Truncate(const SamplingParams& params, std::span<const float> logits, float max) {
  const int64_t vocab = static_cast<int64_t>(logits.size());
  double mass = 0;
  if (params.top_k > 0 && params.top_k < vocab) {
    SelectTopK(logits.data(), vocab, params.top_k, &candidates_);
    weights_.resize(candidates_.size());
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = -candidates_[i].key;
    mass = ExpWeights(weights_.data(), static_cast<int64_t>(weights_.size()), max, params.temperature, weights_.data(),
                      nullptr);
    for (size_t i = 0; i < weights_.size(); ++i) candidates_[i].weight = weights_[i];
  } else {
    weights_.resize(vocab);
    mass = ExpWeights(logits.data(), vocab, max, params.temperature, weights_.data(), nullptr);
    // Tokens below this share of 1 - top_p together hold less than 1 - top_p: the rest holds top_p without them.
    const double tail = 0.5 * (1.0 - params.top_p) * mass / static_cast<double>(vocab);
    ids_.clear();
    AppendAbove(weights_.data(), vocab, static_cast<float>(std::min(tail, 0.5)), 0, &ids_);
    candidates_.resize(ids_.size());
    for (size_t i = 0; i < ids_.size(); ++i) {
      const float weight = weights_[ids_[i]];
      candidates_[i] = {.key = -logits[ids_[i]], .weight = weight, .id = ids_[i]};
    }
  }
  if (params.top_p < 1.0f) candidates_.resize(SelectMass(candidates_, params.top_p * mass));
  float best = 0;
  for (const Candidate& candidate : candidates_) best = std::max(best, candidate.weight);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight == 0 || c.weight < params.min_p * best; });
  if (params.typical_p < 1.0f) KeepTypical(params.typical_p);
}

// Keeps the tokens whose surprise -log p is nearest to the entropy, until they hold typical_p of the mass.
void TokenSampler::KeepTypical(float typical_p) {
  const double mass = SumOfWeights(candidates_);
  double entropy = 0;
  for (Candidate& candidate : candidates_) {
    const double surprise = std::log(mass) - std::log(static_cast<double>(candidate.weight));
    candidate.key = static_cast<float>(surprise);
    entropy += surprise * candidate.weight / mass;
  }
  for (Candidate& candidate : candidates_) candidate.key = std::abs(candidate.key - static_cast<float>(entropy));
  candidates_.resize(SelectMass(candidates_, typical_p * mass));
}

TokenLogprobs TokenSampler::Score(std::span<const float> logits, int32_t token, int num_top) {
  TokenLogprobs result{.token = token};
  const int64_t vocab = static_cast<int64_t>(logits.size());
  const float max = MaxOrNan(logits.data(), vocab);
  if (!std::isfinite(max)) return result;
  weights_.resize(vocab);
  const double log_sum = max + std::log(ExpWeights(logits.data(), vocab, max, 1.0f, weights_.data(), nullptr));
  result.logprob = static_cast<float>(logits[token] - log_sum);
  if (num_top <= 0) return result;
  SelectTopK(logits.data(), vocab, num_top, &candidates_);
  std::sort(candidates_.begin(), candidates_.end(), IsBetter);
  result.top.reserve(candidates_.size());
  for (const Candidate& candidate : candidates_) {
    result.top.push_back({.token = candidate.id, .logprob = static_cast<float>(-candidate.key - log_sum)});
  }
  return result;
}

}  // namespace tandem::cpu
