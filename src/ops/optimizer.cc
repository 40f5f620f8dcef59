#include "ops/optimizer.h"

#include "ops/shapes.h"

namespace tandem::ops {

void AdamW(Backend& backend, const TensorView& parameter, const TensorView& gradient, const TensorView& m,
           const TensorView& v, const AdamWStep& step) {
  CheckF32(gradient, parameter.shape, "gradient");
  CheckF32(m, parameter.shape, "m");
  CheckF32(v, parameter.shape, "v");
  CHECK_GE(step.step, 1);
  backend.AdamW(parameter, gradient, m, v, step);
}

double SumOfSquares(Backend& backend, const TensorView& x) {
  CHECK(x.dtype == DType::kF32);
  return backend.SumOfSquares(x);
}

}  // namespace tandem::ops
