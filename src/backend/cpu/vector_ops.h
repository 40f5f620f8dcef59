// Loops over consecutive floats, single-threaded, vectorised for the instruction set found at run time (Highway). Sums
// run over sixteen lanes in a fixed order, whatever the vector width: a row gives the same bits wherever it stands.
#pragma once

#include <cstdint>

namespace tandem::cpu {

double SumOfSquares(const float* x, int64_t n);  // f32 lanes, folded every 256 elements
float Dot(const float* x, const float* y, int64_t n);
void Add(const float* x, int64_t n, float* y);                                         // y += x
void ScaleBy(const float* x, const float* weight, float factor, int64_t n, float* y);  // y = x * factor * weight
// One row of a ScaleSegment and its gradients. unit and center may be null: ones and zeros.
struct RowScale {
  const float* factor;
  const float* unit;
  const float* center;
};
void ScaleRow(const RowScale& scale, int64_t n, float* y);  // y = center + factor * unit * (y - center)
void ScaleRowBackward(const RowScale& scale, const float* x, const float* dy, int64_t n, float* dfactor,
                      float* dx);                    // dfactor += dy * unit * (x - center); dx = dy * factor * unit
float Max(const float* x, int64_t n);                // -inf where n is 0; NaNs are passed over
float ExpShifted(float shift, int64_t n, float* x);  // x = exp(x - shift); the sum
void SoftCap(float cap, int64_t n, float* x);        // x = cap * tanh(x / cap)

}  // namespace tandem::cpu
