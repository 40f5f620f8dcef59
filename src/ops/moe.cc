#include "ops/moe.h"

#include "ops/shapes.h"

namespace tandem::ops {

namespace {

void CheckRouter(const TensorView& logits, const RouterOptions& options, size_t num_chosen) {
  CHECK(options.top_k >= 1 && options.top_k <= logits.shape[1]) << options.top_k << " of " << logits.shape[1];
  CHECK_EQ(static_cast<int64_t>(num_chosen), logits.rows() * options.top_k);
}

void CheckRows(std::span<const int32_t> rows, int64_t num_rows) {
  for (const int32_t row : rows) CHECK(row >= 0 && row < num_rows) << "row " << row << " of " << num_rows;
}

}  // namespace

void Route(Backend& backend, const TensorView& logits, const RouterOptions& options, std::span<int32_t> experts,
           std::span<float> weights) {
  CheckRouter(logits, options, experts.size());
  CHECK_EQ(weights.size(), experts.size());
  backend.Route(logits, options, experts, weights);
}

void RouteBackward(Backend& backend, const TensorView& logits, const RouterOptions& options,
                   std::span<const int32_t> experts, const RouteGradients& gradients) {
  CheckRouter(logits, options, experts.size());
  CHECK_EQ(gradients.dweights.size(), experts.size());
  CheckF32(gradients.dlogits, logits.shape, "dlogits");
  backend.RouteBackward(logits, options, experts, gradients.dweights, gradients.dlogits);
}

void GatherRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  CheckLike(y, x.dtype, {static_cast<int64_t>(rows.size()), x.shape[1]}, "y");
  CheckRows(rows, x.rows());
  backend.GatherRows(x, rows, y);
}

void ScatterAddRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows,
                    std::span<const float> factors, const TensorView& y) {
  CheckLike(x, y.dtype, {static_cast<int64_t>(rows.size()), y.shape[1]}, "x");
  CHECK_EQ(factors.size(), rows.size());
  CheckRows(rows, y.rows());
  backend.ScatterAddRows(x, rows, factors, y);
}

void ScaleRows(Backend& backend, std::span<const float> factors, const TensorView& x) {
  CHECK_EQ(static_cast<int64_t>(factors.size()), x.rows());
  backend.ScaleRows(factors, x);
}

void RowDots(Backend& backend, const TensorView& x, const TensorView& y, std::span<float> dots) {
  CheckLike(y, x.dtype, x.shape, "y");
  CHECK_EQ(static_cast<int64_t>(dots.size()), x.rows());
  backend.RowDots(x, y, dots);
}

}  // namespace tandem::ops
