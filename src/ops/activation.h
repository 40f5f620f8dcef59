// The activations of the MLP, and element-wise sums and scalings.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y = activation(x)
void Activate(Backend& backend, Activation kind, const TensorView& x, const TensorView& y);
void ActivateBackward(Backend& backend, Activation kind, const TensorView& x, const TensorView& dy,
                      const TensorView& dx);
// y = activation(gate) * up
void ActivateMul(Backend& backend, Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y);

struct ActivateMulGradients {
  TensorView dgate, dup;  // written
};
void ActivateMulBackward(Backend& backend, Activation kind, const TensorView& gate, const TensorView& up,
                         const TensorView& dy, const ActivateMulGradients& gradients);
// y += x
void Add(Backend& backend, const TensorView& x, const TensorView& y);
// Every row of y [m, n] += bias [n].
void AddBias(Backend& backend, const TensorView& bias, const TensorView& y);
// x *= factor
void Scale(Backend& backend, float factor, const TensorView& x);
// x = cap * tanh(x / cap); cap > 0.
void SoftCap(Backend& backend, float cap, const TensorView& x);

}  // namespace tandem::ops
