// RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight, row by row.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

void RmsNorm(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon, const TensorView& y);
// dx (+)= the gradient; the frozen weight has none.
void RmsNormBackward(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon,
                     const TensorView& dy, Accumulate mode, const TensorView& dx);

}  // namespace tandem::ops
