#include "ops/norm.h"

#include "ops/shapes.h"

namespace tandem::ops {

void RmsNorm(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
             const TensorView& y) {
  CheckF32(weight, {x.shape[1]}, "weight");
  CheckLike(y, x.dtype, x.shape, "y");
  backend.RmsNorm(x, weight, epsilon, mode, y);
}

void RmsNormBackward(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon,
                     const TensorView& dy, Accumulate mode, const TensorView& dx) {
  CheckF32(weight, {x.shape[1]}, "weight");
  CheckLike(dy, x.dtype, x.shape, "dy");
  CheckLike(dx, x.dtype, x.shape, "dx");
  backend.RmsNormBackward(x, weight, epsilon, dy, mode, dx);
}

void LayerNorm(Backend& backend, const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon,
               Accumulate mode, const TensorView& y) {
  CheckF32(weight, {x.shape[1]}, "weight");
  CheckF32(bias, {x.shape[1]}, "bias");
  CheckLike(y, x.dtype, x.shape, "y");
  backend.LayerNorm(x, weight, bias, epsilon, mode, y);
}

void LayerNormBackward(Backend& backend, const TensorView& x, const TensorView& weight, float epsilon,
                       const TensorView& dy, Accumulate mode, const TensorView& dx) {
  CheckF32(weight, {x.shape[1]}, "weight");
  CheckLike(dy, x.dtype, x.shape, "dy");
  CheckLike(dx, x.dtype, x.shape, "dx");
  backend.LayerNormBackward(x, weight, epsilon, dy, mode, dx);
}

}  // namespace tandem::ops
