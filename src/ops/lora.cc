#include "ops/lora.h"

#include "ops/shapes.h"

namespace tandem::ops {

namespace {

void CheckSegment(const LoraSegment& segment, int64_t rows, int64_t in, int64_t out) {
  CHECK(segment.first_row >= 0 && segment.num_rows >= 0 && segment.first_row + segment.num_rows <= rows)
      << "rows " << segment.first_row << " + " << segment.num_rows << " of " << rows;
  CHECK_EQ(segment.a->columns(), in);
  CHECK_EQ(segment.b->rows(), out);
  CHECK_EQ(segment.a->rows(), segment.b->columns());
}

}  // namespace

void Lora(Backend& backend, const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) {
  CHECK_EQ(x.rows(), y.rows());
  for (const LoraSegment& segment : segments) CheckSegment(segment, x.rows(), x.shape[1], y.shape[1]);
  if (!segments.empty()) backend.Lora(x, segments, y);
}

void LoraBackward(Backend& backend, const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                  const LoraGradients& gradients, const TensorView& dx) {
  CheckSegment(segment, x.rows(), x.shape[1], dy.shape[1]);
  CHECK(segment.first_row == 0 && segment.num_rows == x.rows());
  CheckF32(gradients.da, {segment.a->rows(), segment.a->columns()}, "da");
  CheckF32(gradients.db, {segment.b->rows(), segment.b->columns()}, "db");
  CheckLike(dx, x.dtype, {x.rows(), x.shape[1]}, "dx");
  backend.LoraBackward(x, dy, segment, gradients, dx);
}

}  // namespace tandem::ops
