#include "kernels/column_scale.h"

#include <bit>
#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace tandem {
namespace {

kernels::ColumnScale ScaleOf(const ScaleSegment& segment) {
  return {.factor = segment.factor.f32(), .unit = segment.unit.f32(), .center = segment.center.f32()};
}

}  // namespace

void CudaBackend::ScaleColumns(std::span<const ScaleSegment> segments, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "ScaleColumns");
  std::vector<kernels::ColumnScale> scales;
  std::vector<int32_t> numbers;
  for (const ScaleSegment& segment : segments) {
    for (int row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
      scales.push_back(ScaleOf(segment));
      numbers.push_back(row);
    }
  }
  // The grid of a repeated step stays when requests come and go.
  scales.resize(std::bit_ceil(scales.size()));
  numbers.resize(scales.size());
  runtime_.Launch(
      kernels::LaunchScaleColumns,
      kernels::ScaleColumnsArgs{.type = cuda::TypeOf(y.dtype),
                                .scales = runtime_.ToDevice(std::span<const kernels::ColumnScale>(scales)).data(),
                                .numbers = runtime_.ToDevice(std::span<const int32_t>(numbers)).data(),
                                .y = y.data,
                                .rows = static_cast<int64_t>(scales.size()),
                                .columns = y.shape[1]});
}

void CudaBackend::ScaleColumnsBackward(const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                                       const TensorView& dfactor, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "ScaleColumnsBackward");
  runtime_.Launch(kernels::LaunchScaleColumnsBackward, kernels::ScaleColumnsBackwardArgs{.type = cuda::TypeOf(x.dtype),
                                                                                         .scale = ScaleOf(segment),
                                                                                         .x = x.data,
                                                                                         .dy = dy.data,
                                                                                         .dfactor = dfactor.f32(),
                                                                                         .dx = dx.data,
                                                                                         .rows = x.rows(),
                                                                                         .columns = x.shape[1]});
}

void CudaBackend::RowSquares(const Matrix& w, const TensorView& squares) {
  const cuda::Runtime::Op op(runtime_, "RowSquares");
  runtime_.Launch(kernels::LaunchRowSquares, kernels::RowSquaresArgs{.type = cuda::TypeOf(w.dtype()),
                                                                     .w = CudaMatrix::Of(w).data(),
                                                                     .squares = squares.f32(),
                                                                     .rows = w.rows(),
                                                                     .columns = w.columns()});
}

void CudaBackend::InverseRowNorms(const RowNormArgs& args, const TensorView& inverse) {
  const cuda::Runtime::Op op(runtime_, "InverseRowNorms");
  runtime_.Launch(kernels::LaunchInverseRowNorms,
                  kernels::InverseRowNormsArgs{.squares = args.squares.f32(),
                                               .b = args.b.f32(),
                                               .projected = args.projected.f32(),
                                               .gram = args.gram.f32(),
                                               .inverse = inverse.f32(),
                                               .scale = args.scale,
                                               .rows = inverse.shape[0],
                                               .rank = static_cast<int>(args.gram.rows())});
}

}  // namespace tandem
