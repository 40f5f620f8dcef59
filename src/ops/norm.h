// Norms, row by row. RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight. LayerNorm (Ba et
// al. 2016): y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias. The frozen weights have no gradient.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y (+)= norm(x); where it overwrites, y may be x.
void RmsNorm(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
             const TensorView& y);
// dx (+)= the gradient
void RmsNormBackward(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon,
                     const TensorView& dy, Accumulate mode, const TensorView& dx);
void LayerNorm(Backend& backend, const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon,
               Accumulate mode, const TensorView& y);
void LayerNormBackward(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon,
                       const TensorView& dy, Accumulate mode, const TensorView& dx);

}  // namespace tandem::ops
