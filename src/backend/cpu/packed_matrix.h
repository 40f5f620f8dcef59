// A weight [out, in] repacked once, at load, into panels of 16 outputs:
//
//   panel p:  W[16p .. 16p+15][0], W[16p .. 16p+15][1], ... , W[16p .. 16p+15][in-1]      (outputs past `out` are zero)
//
// so a product reads one sequential stream and vectorises over outputs: every output is one chain of fused
// multiply-adds over k in order, whatever the number of rows. That is what makes the CPU backend batch-invariant.
#pragma once

#include <memory>

#include "tandem/backend.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace tandem {

inline constexpr int kPanel = 16;

class PackedMatrix final : public Matrix {
 public:
  // f16 weights are widened to f32, bf16 and f32 are kept.
  explicit PackedMatrix(const TensorView& weight);
  void Update(const TensorView& weight);  // same shape; f32 into an f32 matrix

  int64_t rows() const override { return rows_; }
  int64_t columns() const override { return columns_; }
  DType dtype() const override { return storage_.dtype(); }
  size_t size_bytes() const override { return storage_.view().size_bytes(); }

  int64_t num_panels() const { return (rows_ + kPanel - 1) / kPanel; }
  int64_t panel_elements() const { return columns_ * kPanel; }
  const void* data() const { return storage_.view().data; }

 private:
  int64_t rows_, columns_;
  Tensor storage_;  // [num_panels, in, 16]
};

}  // namespace tandem
