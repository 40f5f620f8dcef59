// Columns scaled about a center: IA3 (Liu et al. 2022) and the magnitudes of DoRA (Liu et al. 2024), with the norms
// that these are relative to.
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

cpu::RowScale RowScaleOf(const ScaleSegment& segment, int64_t first) {
  const auto at = [first](const TensorView& view) { return view.data == nullptr ? nullptr : view.f32() + first; };
  return {.factor = at(segment.factor), .unit = at(segment.unit), .center = at(segment.center)};
}

}  // namespace

void CpuBackend::ScaleColumns(std::span<const ScaleSegment> segments, const TensorView& y) {
  const int64_t width = y.shape[1];
  for (const ScaleSegment& segment : segments) {
    const cpu::RowScale scale = RowScaleOf(segment, 0);
    float* const rows = y.f32() + segment.first_row * width;
    ForRange(segment.num_rows, 4, [&](int64_t first, int64_t count, int) {
      for (int64_t r = first; r < first + count; ++r) cpu::ScaleRow(scale, width, rows + r * width);
    });
  }
}

// Threads share the columns, so that each sum is one chain from the last row up.
void CpuBackend::ScaleColumnsBackward(const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                                      const TensorView& dfactor, const TensorView& dx) {
  const int64_t width = x.shape[1];
  ForRange(width, 64, [&](int64_t first, int64_t count, int) {
    const cpu::RowScale scale = RowScaleOf(segment, first);
    for (int64_t at = (x.rows() - 1) * width + first; at >= 0; at -= width) {
      cpu::ScaleRowBackward(scale, x.f32() + at, dy.f32() + at, count, dfactor.f32() + first, dx.f32() + at);
    }
  });
}

void CpuBackend::RowSquares(const Matrix& w, const TensorView& squares) {
  const auto& packed = static_cast<const PackedMatrix&>(w);
  ForRange(packed.num_panels(), 1, [&](int64_t first, int64_t count, int) {
    for (int64_t panel = first; panel < first + count; ++panel) packed.RowSquares(panel, squares.f32());
  });
}

// ||w + s b A||^2 = ||w||^2 + b . (2 s A w + s^2 (A A^T) b), row by row of W and B.
void CpuBackend::InverseRowNorms(const RowNormArgs& args, const TensorView& inverse) {
  const int64_t out = args.b.rows(), rank = args.b.shape[1];
  const double scale = args.scale;
  ForRange(out, 16, [&](int64_t first, int64_t count, int) {
    for (int64_t j = first; j < first + count; ++j) {
      const float* b = args.b.f32() + j * rank;
      double square = args.squares.f32()[j];
      for (int64_t r = 0; r < rank; ++r) {
        const double through = cpu::Dot(args.gram.f32() + r * rank, b, rank);
        square += b[r] * scale * (2 * args.projected.f32()[r * out + j] + scale * through);
      }
      inverse.f32()[j] = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f;
    }
  });
}

}  // namespace tandem
