// The LoRA bypass, segment by segment (Hu et al. 2021, equation 3).
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y[rows] += scale * (x[rows] A^T) B^T for every segment's rows.
void Lora(Backend& backend, const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y);
// One segment over all rows of x: gradients.da, gradients.db and dx [m, in] are added to.
void LoraBackward(Backend& backend, const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                  const LoraGradients& gradients, const TensorView& dx);

}  // namespace tandem::ops
