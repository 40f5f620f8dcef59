// Columns scaled about a center, segment by segment: IA3 (Liu et al. 2022) and DoRA's magnitudes (Liu et al. 2024); and
// the norms of rows that DoRA divides by.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// y[rows] = center + factor * unit * (y[rows] - center) for every segment's rows.
void ScaleColumns(Backend& backend, std::span<const ScaleSegment> segments, const TensorView& y);
// One segment over all rows: x [m, n] is what forward scaled; dfactor [n] is added to, dx [m, n] written. It may be dy.
void ScaleColumnsBackward(Backend& backend, const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                          const TensorView& dfactor, const TensorView& dx);
// squares [out] = ||w||^2 of every row of W [out, in]
void RowSquares(Backend& backend, const Matrix& w, const TensorView& squares);
// inverse [out] = 1 / ||w + scale b A|| of every row w of W and b of B; 0 where that is zero: such rows stay so
void InverseRowNorms(Backend& backend, const RowNormArgs& args, const TensorView& inverse);

}  // namespace tandem::ops
