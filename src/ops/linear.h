// Products with a weight.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y[m, out] (+)= x[m, in] W^T
void Linear(Backend& backend, const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y);
// dx[m, in] (+)= dy[m, out] W
void LinearBackwardInput(Backend& backend, const TensorView& dy, const Matrix& w, Accumulate mode,
                         const TensorView& dx);

}  // namespace tandem::ops
