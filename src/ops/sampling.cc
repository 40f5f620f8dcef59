#include "ops/sampling.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Sample(Backend& backend, const TensorView& logits, std::span<const SampleRequest> requests,
            std::span<int32_t> ids) {
  CheckF32(logits, {static_cast<int64_t>(requests.size()), logits.shape[1]}, "logits");
  CHECK_EQ(ids.size(), requests.size());
  backend.Sample(logits, requests, ids);
}

}  // namespace tandem::ops
