// Drawing tokens from logits.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// ids[i] from logits row i [num_requests, vocab] by requests[i].params; -1 where the row is not finite.
void Sample(Backend& backend, const TensorView& logits, std::span<const SampleRequest> requests,
            std::span<int32_t> ids);

}  // namespace tandem::ops
