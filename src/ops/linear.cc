#include "ops/linear.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Linear(Backend& backend, const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) {
  CheckActivations(x, {x.rows(), w.columns()}, "x");
  CheckActivations(y, {x.rows(), w.rows()}, "y");
  CHECK(y.dtype == x.dtype || y.dtype == DType::kF32);
  backend.Linear(x, w, mode, y);
}

void LinearBackwardInput(Backend& backend, const TensorView& dy, const Matrix& w, Accumulate mode,
                         const TensorView& dx) {
  CheckActivations(dy, {dy.rows(), w.rows()}, "dy");
  CheckLike(dx, dy.dtype, {dy.rows(), w.columns()}, "dx");
  backend.LinearBackwardInput(dy, w, mode, dx);
}

}  // namespace tandem::ops
