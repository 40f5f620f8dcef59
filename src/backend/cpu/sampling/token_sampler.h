// One row of logits to one token: logprobs, rules, temperature, truncation, draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/sampling/selection.h"
#include "tandem/batch.h"

namespace tandem::cpu {

// One for each thread: buffers that stay between rows.
class TokenSampler {
 public:
  // The token, or one of the negative values of sampling.h. Overwrites logits. `logprobs` is filled where the request
  // wants it and a token was drawn; else it may be null.
  int32_t Sample(const SampleRequest& request, std::span<float> logits, TokenLogprobs* logprobs);

  // Log probabilities of `token` and of the num_top most probable ones; NaN and none where the row is not finite.
  TokenLogprobs Score(std::span<const float> logits, int32_t token, int num_top);

 private:
  int32_t Draw(const SampleRequest& request, std::span<const float> logits, float max);
  int32_t DrawFromAll(std::span<const float> logits, float max, float temperature, double u);
  void Truncate(const SamplingParams& params, std::span<const float> logits, float max);
  void KeepTypical(float typical_p);

  std::vector<float> weights_;      // [vocab]
  std::vector<double> block_sums_;  // of weights_
  std::vector<Candidate> candidates_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> counts_;   // [vocab], all zeros between rows
  std::vector<float> unchanged_;  // logits before the rules, where logprobs are wanted
};

}  // namespace tandem::cpu
