#include "ops/linear.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Linear(Backend& backend, const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) {
  CheckF32(x, {x.rows(), w.columns()}, "x");
  CheckF32(y, {x.rows(), w.rows()}, "y");
  backend.Linear(x, w, mode, y);
}

void LinearBackwardInput(Backend& backend, const TensorView& dy, const Matrix& w, Accumulate mode,
                         const TensorView& dx) {
  CheckF32(dy, {dy.rows(), w.rows()}, "dy");
  CheckF32(dx, {dy.rows(), w.columns()}, "dx");
  backend.LinearBackwardInput(dy, w, mode, dx);
}

}  // namespace tandem::ops
