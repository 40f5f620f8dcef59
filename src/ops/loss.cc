#include "ops/loss.h"

#include "ops/shapes.h"

namespace tandem::ops {

void LinearCrossEntropy(Backend& backend, const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                        std::span<double> losses, const TensorView& dx) {
  CheckActivations(x, {static_cast<int64_t>(labels.size()), head.weight.columns()}, "x");
  CHECK_EQ(losses.size(), labels.size());
  if (dx.data != nullptr) CheckLike(dx, x.dtype, x.shape, "dx");
  for (const int32_t label : labels) {
    CHECK(label == kIgnoredLabel || (label >= 0 && label < head.weight.rows())) << "label " << label;
  }
  backend.LinearCrossEntropy(x, head, labels, losses, dx);
}

}  // namespace tandem::ops
