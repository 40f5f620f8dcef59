// Routed experts, forward and backward. Rows are gathered expert by expert, go through the same products as any rows,
// and come back weighted; every step is a function of one row, so batches and windows change no bit.
#include "base/check.h"
#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/moe.h"

namespace tandem {
namespace {

// Who chose which expert.
class Routing {
 public:
  Routing(const DecoderContext& context, const LayerWeights& weights, const TensorView& x, DecoderScratch& scratch)
      : top_k_(context.desc.experts.routing.top_k),
        logits_(scratch.router.view().Rows(0, x.rows())),
        weights_(x.rows() * top_k_),
        experts_(x.rows() * top_k_),
        slots_(context.desc.experts.count) {
    ops::Linear(context.backend, x, *weights.router, Accumulate::kNo, logits_);
    ops::Route(context.backend, logits_, context.desc.experts.routing, experts_, weights_);
    for (size_t i = 0; i < experts_.size(); ++i) slots_[experts_[i]].push_back(static_cast<int32_t>(i));
  }

  // The choices of one expert, as indices into [m, top_k], rows rising.
  const std::vector<int32_t>& SlotsOf(int expert) const { return slots_[expert]; }
  std::vector<int32_t> RowsOf(int expert) const {
    std::vector<int32_t> rows;
    for (const int32_t slot : slots_[expert]) rows.push_back(slot / top_k_);
    return rows;
  }
  std::vector<float> WeightsOf(int expert) const {
    std::vector<float> weights;
    for (const int32_t slot : slots_[expert]) weights.push_back(weights_[slot]);
    return weights;
  }
  const TensorView& logits() const { return logits_; }
  std::span<const int32_t> experts() const { return experts_; }

 private:
  const int top_k_;
  const TensorView logits_;
  std::vector<float> weights_;
  std::vector<int32_t> experts_;
  std::vector<std::vector<int32_t>> slots_;
};

}  // namespace

void ExpertsForward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                    DecoderScratch& scratch, const TensorView& y) {
  CHECK(x.data != y.data);  // x is read again after y has been added to
  Backend& backend = context.backend;
  const Routing routing(context, weights, x, scratch);
  for (int i = 0; i < context.desc.experts.count; ++i) {
    const std::vector<int32_t> rows = routing.RowsOf(i);
    if (rows.empty()) continue;
    const auto first_rows = [&](const DeviceTensor& tensor) {
      return tensor.view().Rows(0, static_cast<int64_t>(rows.size()));
    };
    const TensorView in = first_rows(scratch.expert_in), out = first_rows(scratch.expert_out);
    const TensorView gate = first_rows(scratch.gate), up = first_rows(scratch.up), gated = first_rows(scratch.gated);
    ops::GatherRows(backend, x, rows, in);
    ops::Linear(backend, in, *weights.experts[i].gate, Accumulate::kNo, gate);
    ops::Linear(backend, in, *weights.experts[i].up, Accumulate::kNo, up);
    ops::ActivateMul(backend, context.desc.activation, gate, up, gated);
    ops::Linear(backend, gated, *weights.experts[i].down, Accumulate::kNo, out);
    ops::ScatterAddRows(backend, out, rows, routing.WeightsOf(i), y);
  }
}

// y = sum of w_e E_e(x): dx has a share through each E_e, w_e times its gradient, and one through the router, whose
// dw_e = dy . E_e(x) is taken before the last product, as (dy W_down) . gated, which backward has anyway.
void ExpertsBackward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                     const TensorView& dy, DecoderScratch& scratch, const TensorView& dx) {
  Backend& backend = context.backend;
  const Activation activation = context.desc.activation;
  const Routing routing(context, weights, x, scratch);
  std::vector<float> dweights(routing.experts().size());
  backend.Zero(dx);
  for (int i = 0; i < context.desc.experts.count; ++i) {
    const std::vector<int32_t> rows = routing.RowsOf(i);
    if (rows.empty()) continue;
    const auto first_rows = [&](const DeviceTensor& tensor) {
      return tensor.view().Rows(0, static_cast<int64_t>(rows.size()));
    };
    const TensorView in = first_rows(scratch.expert_in), dout = first_rows(scratch.expert_out);
    const TensorView gate = first_rows(scratch.gate), up = first_rows(scratch.up);
    const TensorView gated = first_rows(scratch.gated), dgated = first_rows(scratch.dgated);
    ops::GatherRows(backend, x, rows, in);
    ops::Linear(backend, in, *weights.experts[i].gate, Accumulate::kNo, gate);
    ops::Linear(backend, in, *weights.experts[i].up, Accumulate::kNo, up);
    ops::ActivateMul(backend, activation, gate, up, gated);

    ops::GatherRows(backend, dy, rows, dout);
    ops::LinearBackwardInput(backend, dout, *weights.experts[i].down, Accumulate::kNo, dgated);
    std::vector<float> dots(rows.size());
    ops::RowDots(backend, dgated, gated, dots);
    for (size_t r = 0; r < rows.size(); ++r) dweights[routing.SlotsOf(i)[r]] = dots[r];

    ops::ScaleRows(backend, routing.WeightsOf(i), dgated);
    // gated is free by now and takes dgate; up's own place takes dup.
    ops::ActivateMulBackward(backend, activation, gate, up, dgated, {gated, up});
    const TensorView din = first_rows(scratch.dexpert);
    ops::LinearBackwardInput(backend, gated, *weights.experts[i].gate, Accumulate::kNo, din);
    ops::LinearBackwardInput(backend, up, *weights.experts[i].up, Accumulate::kYes, din);
    ops::ScatterAddRows(backend, din, rows, std::vector<float>(rows.size(), 1.0f), dx);
  }
  const TensorView dlogits = scratch.drouter.view().Rows(0, x.rows());
  ops::RouteBackward(backend, routing.logits(), context.desc.experts.routing, routing.experts(), {dweights, dlogits});
  ops::LinearBackwardInput(backend, AsActivations(backend, dlogits, scratch.drouter_narrow), *weights.router,
                           Accumulate::kYes, dx);
}

}  // namespace tandem
