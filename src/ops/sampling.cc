#include "ops/sampling.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Sample(Backend& backend, const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
            std::span<TokenLogprobs> logprobs) {
  CheckF32(logits, {static_cast<int64_t>(requests.size()), logits.shape[1]}, "logits");
  CHECK_EQ(ids.size(), requests.size());
  CHECK(logprobs.empty() || logprobs.size() == requests.size());
  for (const SampleRequest& request : requests) {
    CHECK(!logprobs.empty() || !request.params.num_logprobs.has_value()) << "logprobs are wanted";
    CHECK_LE(request.num_prompt_tokens, static_cast<int>(request.history.size()));
  }
  backend.Sample(logits, requests, ids, logprobs);
}

void Score(Backend& backend, const TensorView& logits, std::span<const ScoreRequest> requests,
           std::span<TokenLogprobs> logprobs) {
  CheckF32(logits, {static_cast<int64_t>(requests.size()), logits.shape[1]}, "logits");
  CHECK_EQ(logprobs.size(), requests.size());
  for (const ScoreRequest& request : requests) CHECK(request.token >= 0 && request.token < logits.shape[1]);
  backend.Score(logits, requests, logprobs);
}

}  // namespace tandem::ops
