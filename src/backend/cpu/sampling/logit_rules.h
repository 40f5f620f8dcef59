// What a request changes in its logits before a token is drawn: bias, penalties, and the tokens it may not have.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tandem/batch.h"

namespace tandem::cpu {

// True where the request changes anything.
bool HasLogitRules(const SampleRequest& request);

// In place, in the order of SamplingParams; tokens that may not be drawn become -inf. `counts` is all zeros, as many as
// logits or empty, and left so. Waits for the request's mask.
void ApplyLogitRules(const SampleRequest& request, std::span<float> logits, std::vector<int32_t>* counts);

}  // namespace tandem::cpu
