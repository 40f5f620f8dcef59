// Columns scaled about a center (IA3, DoRA's magnitudes), with the gradient, and the norms of a weight's rows.
//
// y[row] = center + factor * unit * (y[row] - center), element by element; unit and center may be null: ones and zeros.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

// Of one row: what the table holds for it. No factor: the row stays as it is.
struct ColumnScale {
  const float* factor = nullptr;  // [columns] each
  const float* unit = nullptr;
  const float* center = nullptr;
};

// In place. A block has 1024 columns of one row, so that the grid depends on the rows alone.
// Bytes moved: 2 rows * columns * BytesOf(type), and 4 to 12 * columns for each segment out of the cache.
struct ScaleColumnsArgs {
  Type type = Type::kF32;
  const ColumnScale* scales = nullptr;  // [rows] device
  const int32_t* numbers = nullptr;     // [rows] device: rows of y
  void* y = nullptr;                    // [.., columns]
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchScaleColumns(const ScaleColumnsArgs& args, cudaStream_t stream);

// dfactor += sum over rows of dy * unit * (x - center), from the last row to the first, a thread to a column: splitting
// rows into calls, last part first, changes no bit. dx = dy * factor * unit; it may be dy.
// Bytes moved: 3 rows * columns * BytesOf(type).
struct ScaleColumnsBackwardArgs {
  Type type = Type::kF32;
  ColumnScale scale;
  const void *x = nullptr, *dy = nullptr;  // [rows, columns]
  float* dfactor = nullptr;                // [columns], added to
  void* dx = nullptr;                      // [rows, columns], written
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchScaleColumnsBackward(const ScaleColumnsBackwardArgs& args, cudaStream_t stream);

struct RowSquaresArgs {
  Type type = Type::kF32;
  const void* w = nullptr;   // [rows, columns]
  float* squares = nullptr;  // [rows]
  int64_t rows = 0, columns = 0;
};
cudaError_t LaunchRowSquares(const RowSquaresArgs& args, cudaStream_t stream);

// inverse = 1 / sqrt(squares + b . (2 s A w + s^2 (A A^T) b)), a warp to a row; 0 for a row of zeros.
struct InverseRowNormsArgs {
  const float* squares = nullptr;    // [rows]
  const float* b = nullptr;          // [rows, rank]
  const float* projected = nullptr;  // [rank, rows]: A W^T
  const float* gram = nullptr;       // [rank, rank]: A A^T
  float* inverse = nullptr;          // [rows]
  float scale = 0;
  int64_t rows = 0;
  int rank = 0;
};
cudaError_t LaunchInverseRowNorms(const InverseRowNormsArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
