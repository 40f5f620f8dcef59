#include "ops/activation.h"

#include "ops/shapes.h"

namespace tandem::ops {

void SiluMul(Backend& backend, const TensorView& gate, const TensorView& up, const TensorView& y) {
  CheckF32(up, gate.shape, "up");
  CheckF32(y, gate.shape, "y");
  backend.SiluMul(gate, up, y);
}

void SiluMulBackward(Backend& backend, const TensorView& gate, const TensorView& up, const TensorView& dy,
                     const TensorView& dgate, const TensorView& dup) {
  CheckF32(up, gate.shape, "up");
  CheckF32(dy, gate.shape, "dy");
  CheckF32(dgate, gate.shape, "dgate");
  CheckF32(dup, gate.shape, "dup");
  backend.SiluMulBackward(gate, up, dy, dgate, dup);
}

void Add(Backend& backend, const TensorView& x, const TensorView& y) {
  CheckF32(y, x.shape, "y");
  backend.Add(x, y);
}

}  // namespace tandem::ops
