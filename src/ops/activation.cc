#include "ops/activation.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Activate(Backend& backend, Activation kind, const TensorView& x, const TensorView& y) {
  CheckLike(y, x.dtype, x.shape, "y");
  backend.Activate(kind, x, y);
}

void ActivateBackward(Backend& backend, Activation kind, const TensorView& x, const TensorView& dy,
                      const TensorView& dx) {
  CheckLike(dy, x.dtype, x.shape, "dy");
  CheckLike(dx, x.dtype, x.shape, "dx");
  backend.ActivateBackward(kind, x, dy, dx);
}

void ActivateMul(Backend& backend, Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) {
  CheckLike(up, gate.dtype, gate.shape, "up");
  CheckLike(y, gate.dtype, gate.shape, "y");
  backend.ActivateMul(kind, gate, up, y);
}

void ActivateMulBackward(Backend& backend, Activation kind, const TensorView& gate, const TensorView& up,
                         const TensorView& dy, const ActivateMulGradients& gradients) {
  CheckLike(up, gate.dtype, gate.shape, "up");
  CheckLike(dy, gate.dtype, gate.shape, "dy");
  CheckLike(gradients.dgate, gate.dtype, gate.shape, "dgate");
  CheckLike(gradients.dup, gate.dtype, gate.shape, "dup");
  backend.ActivateMulBackward(kind, gate, up, dy, gradients.dgate, gradients.dup);
}

void Add(Backend& backend, const TensorView& x, const TensorView& y) {
  CheckLike(y, x.dtype, x.shape, "y");
  backend.Add(x, y);
}

void AddBias(Backend& backend, const TensorView& bias, const TensorView& y) {
  CheckF32(bias, {y.shape[1]}, "bias");
  backend.AddBias(bias, y);
}

void Scale(Backend& backend, float factor, const TensorView& x) {
  CheckActivations(x, x.shape, "x");
  backend.Scale(factor, x);
}

void SoftCap(Backend& backend, float cap, const TensorView& x) {
  CHECK(x.dtype == DType::kF32);
  CHECK_GT(cap, 0);
  backend.SoftCap(cap, x);
}

}  // namespace tandem::ops
