// A weight [out, in] repacked once, at load, so that a product reads one sequential stream and vectorises over outputs:
// every output is one chain over k in order, whatever the number of rows. That makes the CPU backend batch-invariant.
//
// In panels of 16 outputs:
//
//   kWide    f32 or bf16:        W[16p .. 16p+15][0], W[16p .. 16p+15][1], ... , W[16p .. 16p+15][in-1]
//   kDot     bf16, k in pairs (dot_product.h)
//
// Outputs past `out` are zero.
#pragma once

#include <memory>

#include "tandem/backend.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace tandem {

inline constexpr int kPanel = 16;  // outputs

class PackedMatrix final : public Matrix {
 public:
  enum class Layout { kWide, kDot };

  // Memory for `weight`, without contents. f16 weights are widened to f32, bf16 and f32 are kept; kDot wants bf16.
  PackedMatrix(const TensorView& weight, Layout layout);
  // Fills panels [first, first + count). `weight` has the matrix's shape and a dtype that packs to its own.
  void Pack(const TensorView& weight, int64_t first, int64_t count);

  // Sums of squares over each row of one panel, to their places in squares [rows].
  void RowSquares(int64_t panel, float* squares) const;

  int64_t rows() const override { return rows_; }
  int64_t columns() const override { return columns_; }
  DType dtype() const override { return storage_.dtype(); }
  size_t size_bytes() const override { return storage_.view().size_bytes(); }

  Layout layout() const { return layout_; }
  int64_t num_panels() const { return (rows_ + kPanel - 1) / kPanel; }
  int64_t panel_elements() const;
  const void* data() const { return storage_.view().data; }

 private:
  int64_t rows_, columns_;
  Layout layout_;
  Tensor storage_;  // [num_panels, panel_elements]
};

}  // namespace tandem
