#include "ops/column_scale.h"

#include "ops/shapes.h"

namespace tandem::ops {
namespace {

void CheckSegment(const ScaleSegment& segment, const TensorView& y) {
  CHECK(segment.first_row >= 0 && segment.num_rows >= 0 && segment.first_row + segment.num_rows <= y.rows())
      << "rows " << segment.first_row << " + " << segment.num_rows << " of " << y.rows();
  const Shape columns = {y.shape[1]};
  CheckF32(segment.factor, columns, "factor");
  if (segment.unit.data != nullptr) CheckF32(segment.unit, columns, "unit");
  if (segment.center.data != nullptr) CheckF32(segment.center, columns, "center");
}

}  // namespace

void ScaleColumns(Backend& backend, std::span<const ScaleSegment> segments, const TensorView& y) {
  for (const ScaleSegment& segment : segments) CheckSegment(segment, y);
  if (!segments.empty()) backend.ScaleColumns(segments, y);
}

void ScaleColumnsBackward(Backend& backend, const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                          const TensorView& dfactor, const TensorView& dx) {
  CheckSegment(segment, x);
  CHECK(segment.first_row == 0 && segment.num_rows == x.rows());
  CheckF32(dfactor, {x.shape[1]}, "dfactor");
  CheckLike(dy, x.dtype, x.shape, "dy");
  CheckLike(dx, x.dtype, x.shape, "dx");
  backend.ScaleColumnsBackward(x, dy, segment, dfactor, dx);
}

void RowSquares(Backend& backend, const Matrix& w, const TensorView& squares) {
  CheckF32(squares, {w.rows()}, "squares");
  backend.RowSquares(w, squares);
}

void InverseRowNorms(Backend& backend, const RowNormArgs& args, const TensorView& inverse) {
  const int64_t out = inverse.shape[0], rank = args.gram.rows();
  CheckF32(args.squares, {out}, "squares");
  CheckF32(args.b, {out, rank}, "b");
  CheckF32(args.projected, {rank, out}, "projected");
  CheckF32(args.gram, {rank, rank}, "gram");
  CheckF32(inverse, {out}, "inverse");
  backend.InverseRowNorms(args, inverse);
}

}  // namespace tandem::ops
