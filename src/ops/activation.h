// The gated activation of the MLP, and the residual sum.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y = silu(gate) * up
void SiluMul(Backend& backend, const TensorView& gate, const TensorView& up, const TensorView& y);
void SiluMulBackward(Backend& backend, const TensorView& gate, const TensorView& up, const TensorView& dy,
                     const TensorView& dgate, const TensorView& dup);
// y += x
void Add(Backend& backend, const TensorView& x, const TensorView& y);

}  // namespace tandem::ops
