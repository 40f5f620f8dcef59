// Cross entropy fused with the language-model head.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// losses[m] = -log softmax(cap(x head^T))[label], 0 where the label is kIgnoredLabel; dx [m, hidden] (or without data)
// is the gradient of their sum.
void LinearCrossEntropy(Backend& backend, const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                        std::span<double> losses, const TensorView& dx);

}  // namespace tandem::ops
