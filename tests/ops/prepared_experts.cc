// Operands of the operations of routed experts (prepared_op.h).
#include "ops/moe.h"
#include "ops/prepared_op.h"

namespace tandem::optest {

// Outputs, by names with this prefix.
Routing PreparedOp::RoutingOf(const Case& c, int64_t num_experts, const std::string& prefix) {
  const Shape choices = {c.m, c.top_k};
  return {.experts = Output(prefix + "experts", choices, DType::kI32),
          .weights = Output(prefix + "weights", choices),
          .order = Output(prefix + "order", {choices.num_elements()}, DType::kI32),
          .places = Output(prefix + "places", choices, DType::kI32),
          .ends = Output(prefix + "ends", {num_experts}, DType::kI32)};
}

void PreparedOp::PrepareRouter(const Case& c) {
  Backend& backend = backend_;
  const TensorView logits = Input("logits", {c.m, c.n});
  const RouterOptions options{.top_k = c.top_k, .normalize = c.normalize};
  if (c.op == Op::kRoute) {
    const Routing routing = RoutingOf(c, c.n, "");
    run_ = [=, &backend] { ops::Route(backend, logits, options, routing); };
    return;
  }
  const Routing routing = RoutingOf(c, c.n, "scratch_");
  ops::Route(backend, logits, options, routing);
  const TensorView dweights = Input("dweights", {c.m, c.top_k}), dlogits = Output("dlogits", {c.m, c.n});
  run_ = [=, &backend] { ops::RouteBackward(backend, logits, options, routing, {dweights, dlogits}); };
}

void PreparedOp::PrepareChoices(const Case& c) {
  Backend& backend = backend_;
  const Routing routing = RoutingOf(c, c.experts, "scratch_");
  ops::Route(backend, Input("logits", {c.m, c.experts}), {.top_k = c.top_k, .normalize = c.normalize}, routing);
  const Shape by_row = {c.m, c.k}, by_expert = {c.m * c.top_k, c.k};
  if (c.op == Op::kGatherChoices) {
    const TensorView x = Input("x", by_row, rows_), y = Output("y", by_expert, rows_);
    run_ = [=, &backend] { ops::GatherChoices(backend, x, routing, y); };
  } else if (c.op == Op::kCombineChoices) {
    const TensorView x = Input("x", by_expert, rows_), y = InOut("y", by_row, rows_);
    const TensorView factors = c.weighted ? Input("factors", {c.m, c.top_k}) : TensorView();
    run_ = [=, &backend] { ops::CombineChoices(backend, x, routing, factors, y); };
  } else {
    const TensorView x = Input("x", by_expert, rows_), dx = InOut("dx", by_expert, rows_);
    const TensorView dweights = Output("dweights", {c.m, c.top_k});
    run_ = [=, &backend] { ops::WeighChoicesBackward(backend, x, routing, dx, dweights); };
  }
}

void PreparedOp::PrepareExpertProduct(const Case& c) {
  Backend& backend = backend_;
  const Routing routing = RoutingOf(c, c.experts, "scratch_");
  ops::Route(backend, Input("logits", {c.m, c.experts}), {.top_k = c.top_k}, routing);
  std::vector<double> weights;
  for (int i = 0; i < c.experts; ++i) {
    Weight("weight", c.n, c.k, c.dtype);
    weights.insert(weights.end(), inputs_["weight"].begin(), inputs_["weight"].end());
  }
  inputs_["weight"] = std::move(weights);
  const ExpertMatrices w = matrices_;
  const int64_t choices = c.m * c.top_k;
  if (c.op == Op::kExpertLinear) {
    const TensorView x = Input("x", {choices, c.k}, rows_, c.dtype), y = Output("y", {choices, c.n}, rows_);
    run_ = [=, &backend] { ops::ExpertLinear(backend, x, w, routing, y); };
  } else {
    const TensorView dy = Input("dy", {choices, c.n}, rows_, c.dtype), dx = Result("dx", {choices, c.k}, c.mode);
    run_ = [=, &backend] { ops::ExpertLinearBackwardInput(backend, dy, w, routing, c.mode, dx); };
  }
}

}  // namespace tandem::optest
