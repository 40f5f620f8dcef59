// Drawing tokens from logits, and the log probabilities of tokens that are known.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// ids[i] from logits row i [num_requests, vocab] by requests[i]; negative where there is none to draw (sampling.h).
// logprobs may be empty where no request wants any. logits are scratch afterwards.
void Sample(Backend& backend, const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
            std::span<TokenLogprobs> logprobs = {});

// logprobs[i] of requests[i].token by logits row i [num_requests, vocab]; NaN where the row is not finite.
void Score(Backend& backend, const TensorView& logits, std::span<const ScoreRequest> requests,
           std::span<TokenLogprobs> logprobs);

}  // namespace tandem::ops
