// Activations over consecutive floats, single-threaded, vectorised for the instruction set found at run time (Highway).
// Every element is a function of its own operands alone.
#pragma once

#include <cstdint>

#include "tandem/backend.h"

namespace tandem::cpu {

void Activate(Activation kind, const float* x, int64_t n, float* y);
void ActivateBackward(Activation kind, const float* x, const float* dy, int64_t n, float* dx);
void ActivateMul(Activation kind, const float* gate, const float* up, int64_t n, float* y);
void ActivateMulBackward(Activation kind, const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                         float* dup);

}  // namespace tandem::cpu
