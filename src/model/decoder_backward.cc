#include "base/check.h"
#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/column_scale.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/rope.h"

namespace tandem {
namespace {

// Backward of one layer over one window. Scratch tensors hold the gradients of what the forward keeps in them; what the
// forward's values are needed for (norm outputs, activations) is recomputed on the way.
class Backward {
 public:
  Backward(const DecoderContext& context, const BackwardUnit& unit, DecoderScratch& scratch)
      : context_(context),
        unit_(unit),
        scratch_(scratch),
        tape_(*unit.tape),
        saved_(unit.tape->layers()[unit.layer]),
        weights_(context.weights.layers[unit.layer]),
        adapter_(context.adapters.Find(unit.adapter)),
        dhidden_(Window(tape_.dhidden())),
        sequence_{0, unit.window.num_rows(), unit.window.begin, unit.blocks} {
    CHECK(adapter_ != nullptr);
  }

  void Run() {
    if (unit_.window.end == tape_.length()) {
      context_.backend.Zero(tape_.dk().view());
      context_.backend.Zero(tape_.dv().view());
    }
    Mlp();
    if (adapter_->HasBypassBefore(unit_.layer, LinearKind::kGateProj)) Attention();
  }

 private:
  void Mlp() {
    const HalfNormWeights& norms = weights_.mlp_norms;
    const TensorView dbranch = BranchGradient(norms, saved_.mlp_branch, saved_.mlp_sum);
    const TensorView x = Window(saved_.mlp_input), dnormed = Rows(scratch_.dnormed);
    if (context_.desc.experts.count > 0) {
      ExpertsBackward(context_, weights_, Input(norms, x), dbranch, scratch_, dnormed);
    } else {
      DenseMlp(norms, x, dbranch, dnormed);
    }
    AddInputGradient(norms, x, dnormed);
  }

  void DenseMlp(const HalfNormWeights& norms, const TensorView& x, const TensorView& dy, const TensorView& dx) {
    Backend& backend = context_.backend;
    const Activation activation = context_.desc.activation;
    const TensorView up = Window(saved_.up), gated = Rows(scratch_.gated), dgated = Rows(scratch_.dgated);
    const TensorView dup = Rows(scratch_.up);
    if (!context_.desc.gated) {
      ops::Activate(backend, activation, up, gated);
      Linear(LinearKind::kDownProj, gated, dy, Accumulate::kNo, dgated);
      ops::ActivateBackward(backend, activation, up, dgated, dup);
      Linear(LinearKind::kUpProj, Input(norms, x), dup, Accumulate::kNo, dx);
      return;
    }
    const TensorView gate = Window(saved_.gate), dgate = Rows(scratch_.gate);
    ops::ActivateMul(backend, activation, gate, up, gated);
    Linear(LinearKind::kDownProj, gated, dy, Accumulate::kNo, dgated);
    ops::ActivateMulBackward(backend, activation, gate, up, dgated, {dgate, dup});
    const TensorView normed = Input(norms, x);
    Linear(LinearKind::kGateProj, normed, dgate, Accumulate::kNo, dx);
    Linear(LinearKind::kUpProj, normed, dup, Accumulate::kYes, dx);
  }

  void Attention() {
    const HalfNormWeights& norms = weights_.attention_norms;
    const TensorView dbranch = BranchGradient(norms, saved_.attention_branch, saved_.attention_sum);
    const TensorView x = Window(saved_.attention_input), attention = Window(saved_.attention_output);
    const TensorView dattention = Rows(scratch_.attention), dq = Rows(scratch_.q);
    Linear(LinearKind::kOProj, attention, dbranch, Accumulate::kNo, dattention);
    ops::AttentionBackward(context_.backend, {.first_position = unit_.window.begin,
                                              .blocks = unit_.blocks,
                                              .kv = context_.kv.layer(unit_.layer),
                                              .options = context_.OptionsOf(unit_.layer),
                                              .q = Queries(),
                                              .out = attention,
                                              .dout = dattention,
                                              .lse = Window(saved_.lse),
                                              .dq = dq,
                                              .dk = tape_.dk().view(),
                                              .dv = tape_.dv().view()});
    // Later windows are done and earlier rows never look ahead: this window's rows of dk and dv are final.
    const TensorView dk = Window(tape_.dk()), dv = Window(tape_.dv());
    if (!context_.rope_tables.empty()) {
      ops::RopeBackward(context_.backend, {&sequence_, 1}, RopeTable(), dq);
      ops::RopeBackward(context_.backend, {&sequence_, 1}, RopeTable(), dk);
    }
    ProjectionsBackward(norms, x,
                        {.q = dq,
                         .k = AsActivations(context_.backend, dk, scratch_.dk),
                         .v = AsActivations(context_.backend, dv, scratch_.dv)});
  }

  struct ProjectionGradients {
    TensorView q, k, v;  // after the norms of heads, where there are such
  };
  void ProjectionsBackward(const HalfNormWeights& norms, const TensorView& x, ProjectionGradients d) {
    if (weights_.q_norm.exists()) {
      // dattention is done with, and so is the forward's k.
      HeadNormBackward(context_, weights_.q_norm, Window(saved_.q), d.q, Rows(scratch_.attention));
      HeadNormBackward(context_, weights_.k_norm, Window(saved_.k), d.k, Rows(scratch_.k));
      d.q = Rows(scratch_.attention);
      d.k = Rows(scratch_.k);
    }
    const TensorView normed = Input(norms, x), dnormed = Rows(scratch_.dnormed);
    Linear(LinearKind::kQProj, normed, d.q, Accumulate::kNo, dnormed);
    Linear(LinearKind::kKProj, normed, d.k, Accumulate::kYes, dnormed);
    Linear(LinearKind::kVProj, normed, d.v, Accumulate::kYes, dnormed);
    AddInputGradient(norms, x, dnormed);
  }

  // q as attention took it: saved so, or before its norm.
  TensorView Queries() {
    if (!weights_.q_norm.exists()) return Window(saved_.q);
    const TensorView q = Rows(scratch_.q_normed);
    HeadNorm(context_, weights_.q_norm, Window(saved_.q), q);
    if (!context_.rope_tables.empty()) ops::Rope(context_.backend, {&sequence_, 1}, RopeTable(), q);
    return q;
  }

  // What one half of the block read: x through its norm where it has one.
  TensorView Input(const HalfNormWeights& norms, const TensorView& x) {
    if (!norms.in.exists()) return x;
    Norm(context_, norms.in, x, Accumulate::kNo, Rows(scratch_.normed));
    return Rows(scratch_.normed);
  }

  // dhidden from after the sum to before it, and the gradient of the branch's output.
  TensorView BranchGradient(const HalfNormWeights& norms, const DeviceTensor& branch, const DeviceTensor& sum) {
    if (norms.after.exists()) {
      const TensorView dy = Rows(scratch_.branch);
      context_.backend.Copy(dhidden_, dy);
      NormBackward(context_, norms.after, Window(sum), dy, Accumulate::kNo, dhidden_);
    }
    if (!norms.out.exists()) return dhidden_;
    NormBackward(context_, norms.out, Window(branch), dhidden_, Accumulate::kNo, Rows(scratch_.branch));
    return Rows(scratch_.branch);
  }

  // The residual passes dhidden on as it is; the share of one half's input is added.
  void AddInputGradient(const HalfNormWeights& norms, const TensorView& x, const TensorView& dnormed) {
    if (norms.in.exists()) {
      NormBackward(context_, norms.in, x, dnormed, Accumulate::kYes, dhidden_);
    } else {
      ops::Add(context_.backend, dnormed, dhidden_);
    }
  }

  // dx (+)= dy W through the bypass, which adds to its gradients.
  void Linear(LinearKind kind, const TensorView& x, const TensorView& dy, Accumulate mode, const TensorView& dx) {
    Backend& backend = context_.backend;
    const AdapterBypass* bypass = adapter_->Find(unit_.layer, kind);
    if (bypass == nullptr) return ops::LinearBackwardInput(backend, dy, weights_[kind], mode, dx);
    const BypassGradients& gradients = tape_.gradients()[unit_.layer].linears[static_cast<int>(kind)];
    const TensorView dout = bypass->reads_output ? OutputGradient(kind, *bypass, gradients, dy) : dy;
    if (bypass->scales_input) return ScaledInputGradient(kind, *bypass, gradients, {x, dout, mode, dx});
    ops::LinearBackwardInput(backend, dout, weights_[kind], mode, dx);
    if (!bypass->adds_to_input_path()) return;
    ops::LoraBackward(backend, x, dout, bypass->Pair(0, num_rows()), {gradients.da, gradients.db}, dx);
  }

  // Of what the linear computed, from that of what the bypass made of it.
  TensorView OutputGradient(LinearKind kind, const AdapterBypass& bypass, const BypassGradients& gradients,
                            const TensorView& dy) {
    const TensorView y = Window(saved_.outputs[static_cast<int>(kind)]);
    const TensorView dout = AsShape(scratch_.scaled, dy.rows(), dy.shape[1]);
    if (bypass.factor.empty()) {
      context_.backend.Copy(dy, dout);
      ops::LoraBackward(context_.backend, y, dy, bypass.Pair(0, num_rows()), {gradients.da, gradients.db}, dout);
    } else {
      const TensorView bias = weights_.biases[static_cast<int>(kind)].view();
      const ScaleSegment segment = bypass.Scale(0, num_rows(), bias);
      ops::ScaleColumnsBackward(context_.backend, y, dy, segment, gradients.dfactor, dout);
    }
    return dout;
  }

  struct Product {
    TensorView x, dy;
    Accumulate mode;
    TensorView dx;
  };
  void ScaledInputGradient(LinearKind kind, const AdapterBypass& bypass, const BypassGradients& gradients,
                           const Product& product) {
    const TensorView dscaled = AsShape(scratch_.aside, product.dx.rows(), product.dx.shape[1]);
    ops::LinearBackwardInput(context_.backend, product.dy, weights_[kind], Accumulate::kNo, dscaled);
    ops::ScaleColumnsBackward(context_.backend, product.x, dscaled, bypass.Scale(0, num_rows(), {}), gradients.dfactor,
                              dscaled);
    if (product.mode == Accumulate::kYes) {
      ops::Add(context_.backend, dscaled, product.dx);
    } else {
      context_.backend.Copy(dscaled, product.dx);
    }
  }

  int num_rows() const { return unit_.window.num_rows(); }
  TensorView RopeTable() const { return context_.rope_tables[context_.desc.layers[unit_.layer].rope].view(); }
  TensorView Window(const DeviceTensor& tensor) const {
    return tensor.view().Rows(unit_.window.begin, unit_.window.num_rows());
  }
  TensorView Rows(const DeviceTensor& scratch) const { return scratch.view().Rows(0, unit_.window.num_rows()); }

  const DecoderContext& context_;
  const BackwardUnit& unit_;
  DecoderScratch& scratch_;
  Tape& tape_;
  const Tape::Layer& saved_;
  const LayerWeights& weights_;
  const Adapter* adapter_;
  const TensorView dhidden_;
  const SequenceRows sequence_;
};

}  // namespace

void DecoderBackward(const DecoderContext& context, const BackwardUnit& unit, DecoderScratch& scratch) {
  Backward(context, unit, scratch).Run();
}

}  // namespace tandem
