// AdamW (Loshchilov and Hutter 2019), in the order of torch.optim.AdamW.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// All four tensors have the same shape, f32. m and v are the first and second moments, updated in place.
void AdamW(Backend& backend, const TensorView& parameter, const TensorView& gradient, const TensorView& m,
           const TensorView& v, const AdamWStep& step);
double SumOfSquares(Backend& backend, const TensorView& x);

}  // namespace tandem::ops
