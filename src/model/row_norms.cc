#include "model/row_norms.h"

#include <algorithm>
#include <cmath>

#include "model/decoder.h"
#include "ops/column_scale.h"
#include "ops/linear.h"

namespace tandem {

const DeviceTensor& RowNorms::SquaresOf(int layer, LinearKind kind) {
  DeviceTensor& squares = squares_[layer * kNumLinears + static_cast<int>(kind)];
  if (squares.empty()) {
    const Matrix& w = weights_.layers[layer][kind];
    squares = DeviceTensor(backend_, DType::kF32, {w.rows()});
    ops::RowSquares(backend_, w, squares.view());
  }
  return squares;
}

Tensor RowNorms::Of(int layer, LinearKind kind) {
  const TensorView squares = SquaresOf(layer, kind).view();
  Tensor norms = Tensor::Empty(DType::kF32, squares.shape);
  backend_.Download(squares, norms.view());
  std::transform(norms.f32(), norms.f32() + norms.num_elements(), norms.f32(), [](float x) { return std::sqrt(x); });
  return norms;
}

void RowNorms::Update(const Adapter& adapter) {
  if (!adapter.needs_norms()) return;
  for (int layer = 0; layer < adapter.num_layers(); ++layer) {
    for (const LinearKind kind : kAllLinears) {
      if (const AdapterBypass* bypass = adapter.Find(layer, kind)) UpdateLinear(layer, kind, *bypass);
    }
  }
  adapter.NormsAreMade();
}

RowNorms::Products& RowNorms::ProductsOf(int64_t rank) {
  Products& products = products_[rank];
  if (!products.gram.empty()) return products;
  int64_t in = 0, out = 0;
  for (const auto& linear : weights_.layers[0].linears) {
    if (linear == nullptr) continue;
    in = std::max(in, linear->columns());
    out = std::max(out, linear->rows());
  }
  products.projected = DeviceTensor(backend_, DType::kF32, {rank, out});
  products.gram = DeviceTensor(backend_, DType::kF32, {rank, rank});
  if (activations_ != DType::kF32) products.a_narrow = DeviceTensor(backend_, activations_, {rank, in});
  return products;
}

void RowNorms::UpdateLinear(int layer, LinearKind kind, const AdapterBypass& bypass) {
  const TensorView a = bypass.a_rows.view();
  Products& products = ProductsOf(a.rows());
  TensorView narrow = a;
  if (!products.a_narrow.empty()) {
    narrow = AsShape(products.a_narrow, a.rows(), a.shape[1]);
    backend_.Copy(a, narrow);
  }
  const Matrix& w = weights_.layers[layer][kind];
  const TensorView projected = AsShape(products.projected, a.rows(), w.rows());
  ops::Linear(backend_, narrow, w, Accumulate::kNo, projected);
  ops::Linear(backend_, a, *bypass.a, Accumulate::kNo, products.gram.view());
  ops::InverseRowNorms(backend_,
                       {.squares = SquaresOf(layer, kind).view(),
                        .b = bypass.b_rows.view(),
                        .projected = projected,
                        .gram = products.gram.view(),
                        .scale = bypass.scale},
                       bypass.inverse_norms.view());
}

}  // namespace tandem
