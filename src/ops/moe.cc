#include "ops/moe.h"

#include "ops/shapes.h"

namespace tandem::ops {

namespace {

int64_t NumChoices(const Routing& routing) {
  return routing.experts.shape.num_elements();
}

void CheckI32(const TensorView& tensor, const Shape& want, const char* name) {
  CHECK(tensor.dtype == DType::kI32) << name << " is " << Name(tensor.dtype) << ", want i32";
  CheckShape(tensor, want, name);
}

void CheckRouting(const TensorView& logits, const RouterOptions& options, const Routing& routing) {
  CHECK(options.top_k >= 1 && options.top_k <= logits.shape[1]) << options.top_k << " of " << logits.shape[1];
  const Shape choices = {logits.rows(), options.top_k};
  CheckI32(routing.experts, choices, "experts");
  CheckF32(routing.weights, choices, "weights");
  CheckI32(routing.order, {choices.num_elements()}, "order");
  CheckI32(routing.places, choices, "places");
  CheckI32(routing.ends, {logits.shape[1]}, "ends");
}

void CheckExperts(ExpertMatrices w, const Routing& routing, Shape want) {
  CHECK_EQ(static_cast<int64_t>(w.size()), routing.ends.shape[0]);
  for (const std::unique_ptr<Matrix>& matrix : w) {
    CHECK(Shape({matrix->rows(), matrix->columns()}) == want)
        << "an expert's weight is [" << matrix->rows() << ", " << matrix->columns() << "], want " << want.ToString();
    CHECK(matrix->dtype() == w[0]->dtype());
  }
}

}  // namespace

void Route(Backend& backend, const TensorView& logits, const RouterOptions& options, const Routing& routing) {
  CheckRouting(logits, options, routing);
  backend.Route(logits, options, routing);
}

void RouteBackward(Backend& backend, const TensorView& logits, const RouterOptions& options, const Routing& routing,
                   const RouteGradients& gradients) {
  CheckRouting(logits, options, routing);
  CheckF32(gradients.dweights, routing.experts.shape, "dweights");
  CheckF32(gradients.dlogits, logits.shape, "dlogits");
  backend.RouteBackward(logits, options, routing, gradients.dweights, gradients.dlogits);
}

void GatherChoices(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& y) {
  CHECK_EQ(x.rows(), routing.experts.rows());
  CheckLike(y, x.dtype, {NumChoices(routing), x.shape[1]}, "y");
  backend.GatherChoices(x, routing, y);
}

void CombineChoices(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& factors,
                    const TensorView& y) {
  CHECK_EQ(y.rows(), routing.experts.rows());
  CheckLike(x, y.dtype, {NumChoices(routing), y.shape[1]}, "x");
  if (factors.data != nullptr) CheckF32(factors, routing.experts.shape, "factors");
  backend.CombineChoices(x, routing, factors, y);
}

void WeighChoicesBackward(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& dx,
                          const TensorView& dweights) {
  CHECK_EQ(x.rows(), NumChoices(routing));
  CheckLike(dx, x.dtype, x.shape, "dx");
  CheckF32(dweights, routing.experts.shape, "dweights");
  backend.WeighChoicesBackward(x, routing, dx, dweights);
}

void ExpertLinear(Backend& backend, const TensorView& x, ExpertMatrices w, const Routing& routing,
                  const TensorView& y) {
  CheckExperts(w, routing, {y.shape[1], x.shape[1]});
  CheckActivations(x, {NumChoices(routing), x.shape[1]}, "x");
  CheckLike(y, x.dtype, {x.rows(), y.shape[1]}, "y");
  backend.ExpertLinear(x, w, routing, y);
}

void ExpertLinearBackwardInput(Backend& backend, const TensorView& dy, ExpertMatrices w, const Routing& routing,
                               Accumulate mode, const TensorView& dx) {
  CheckExperts(w, routing, {dy.shape[1], dx.shape[1]});
  CheckActivations(dy, {NumChoices(routing), dy.shape[1]}, "dy");
  CheckLike(dx, dy.dtype, {dy.rows(), dx.shape[1]}, "dx");
  backend.ExpertLinearBackwardInput(dy, w, routing, mode, dx);
}

}  // namespace tandem::ops
