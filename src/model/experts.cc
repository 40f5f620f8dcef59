// Routed experts, forward and backward. Rows are gathered expert by expert, go through the same products as any rows,
// and come back weighted; every step is a function of one row, so batches and windows change no bit. Who was chosen is
// known to the device alone.
#include "base/check.h"
#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/moe.h"

namespace tandem {
namespace {

// The parts of `scratch` for `rows` rows and their choices.
class Choices {
 public:
  Choices(const DecoderContext& context, const DecoderScratch& scratch, int64_t rows)
      : rows_(rows), top_k_(context.desc.experts.routing.top_k), scratch_(scratch.experts) {}

  Routing routing() const {
    return {.experts = ByRow(scratch_.experts),
            .weights = ByRow(scratch_.weights),
            .order = ByExpert(scratch_.order),
            .places = ByRow(scratch_.places),
            .ends = scratch_.ends.view()};
  }
  TensorView ByRow(const DeviceTensor& tensor) const { return tensor.view().Rows(0, rows_); }
  TensorView ByExpert(const DeviceTensor& tensor) const { return tensor.view().Rows(0, rows_ * top_k_); }

 private:
  const int64_t rows_;
  const int top_k_;
  const ExpertScratch& scratch_;
};

void RouteRows(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
               const TensorView& logits, const Routing& routing) {
  ops::Linear(context.backend, x, *weights.router, Accumulate::kNo, logits);
  ops::Route(context.backend, logits, context.desc.experts.routing, routing);
}

}  // namespace

void ExpertsForward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                    DecoderScratch& scratch, const TensorView& y) {
  CHECK(x.data != y.data);  // x is read again after y has been added to
  Backend& backend = context.backend;
  const Choices of(context, scratch, x.rows());
  const Routing routing = of.routing();
  const TensorView in = of.ByExpert(scratch.experts.in), out = of.ByExpert(scratch.experts.out);
  const TensorView gate = of.ByExpert(scratch.gate), up = of.ByExpert(scratch.up), gated = of.ByExpert(scratch.gated);
  RouteRows(context, weights, x, of.ByRow(scratch.experts.logits), routing);
  ops::GatherChoices(backend, x, routing, in);
  ops::ExpertLinear(backend, in, weights.experts.gate, routing, gate);
  ops::ExpertLinear(backend, in, weights.experts.up, routing, up);
  ops::ActivateMul(backend, context.desc.activation, gate, up, gated);
  ops::ExpertLinear(backend, gated, weights.experts.down, routing, out);
  ops::CombineChoices(backend, out, routing, routing.weights, y);
}

// y = sum of w_e E_e(x): dx has a share through each E_e, w_e times its gradient, and one through the router, whose
// dw_e = dy . E_e(x) is taken before the last product, as (dy W_down) . gated, which backward has anyway.
void ExpertsBackward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                     const TensorView& dy, DecoderScratch& scratch, const TensorView& dx) {
  Backend& backend = context.backend;
  const Activation activation = context.desc.activation;
  const ExpertScratch& own = scratch.experts;
  const Choices of(context, scratch, x.rows());
  const Routing routing = of.routing();
  const TensorView in = of.ByExpert(own.in), dout = of.ByExpert(own.out), din = of.ByExpert(own.dx);
  const TensorView gate = of.ByExpert(scratch.gate), up = of.ByExpert(scratch.up);
  const TensorView gated = of.ByExpert(scratch.gated), dgated = of.ByExpert(scratch.dgated);
  const TensorView logits = of.ByRow(own.logits), dlogits = of.ByRow(own.dlogits), dweights = of.ByRow(own.dweights);
  RouteRows(context, weights, x, logits, routing);
  ops::GatherChoices(backend, x, routing, in);
  ops::ExpertLinear(backend, in, weights.experts.gate, routing, gate);
  ops::ExpertLinear(backend, in, weights.experts.up, routing, up);
  ops::ActivateMul(backend, activation, gate, up, gated);

  ops::GatherChoices(backend, dy, routing, dout);
  ops::ExpertLinearBackwardInput(backend, dout, weights.experts.down, routing, Accumulate::kNo, dgated);
  ops::WeighChoicesBackward(backend, gated, routing, dgated, dweights);
  // gated is free by now and takes dgate; up's own place takes dup.
  ops::ActivateMulBackward(backend, activation, gate, up, dgated, {gated, up});
  ops::ExpertLinearBackwardInput(backend, gated, weights.experts.gate, routing, Accumulate::kNo, din);
  ops::ExpertLinearBackwardInput(backend, up, weights.experts.up, routing, Accumulate::kYes, din);
  backend.Zero(dx);
  ops::CombineChoices(backend, din, routing, {}, dx);

  ops::RouteBackward(backend, logits, context.desc.experts.routing, routing, {dweights, dlogits});
  ops::LinearBackwardInput(backend, AsActivations(backend, dlogits, own.dlogits_narrow), *weights.router,
                           Accumulate::kYes, dx);
}

}  // namespace tandem
