#include <cmath>
#include <cstring>

#include "base/check.h"
#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace tandem {
namespace {

// Backward of one layer over one window. Scratch tensors hold the gradients of what the forward keeps in them; those
// two that the forward's values are needed for (norm outputs, silu(gate) * up) are recomputed on the way.
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
      std::memset(tape_.dk().data(), 0, tape_.dk().size_bytes());
      std::memset(tape_.dv().data(), 0, tape_.dv().size_bytes());
    }
    Mlp();
    Attention();
  }

 private:
  void Mlp() {
    Backend& backend = context_.backend;
    const TensorView x = Window(saved_.mlp_input), gate = Window(saved_.gate), up = Window(saved_.up);
    const TensorView gated = Rows(scratch_.gated), dgated = Rows(scratch_.dgated);
    ops::ActivateMul(backend, Activation::kSilu, gate, up, gated);
    Linear(LinearKind::kDownProj, gated, dhidden_, Accumulate::kNo, dgated);

    const TensorView normed = Rows(scratch_.normed), dnormed = Rows(scratch_.dnormed);
    const TensorView dgate = Rows(scratch_.gate), dup = Rows(scratch_.up);
    ops::ActivateMulBackward(backend, Activation::kSilu, gate, up, dgated, {dgate, dup});
    ops::RmsNorm(backend, x, weights_.mlp_norm.view(), context_.desc.rms_norm_eps, normed);
    Linear(LinearKind::kGateProj, normed, dgate, Accumulate::kNo, dnormed);
    Linear(LinearKind::kUpProj, normed, dup, Accumulate::kYes, dnormed);
    // The residual passes dhidden on as it is; the norm's share is added.
    ops::RmsNormBackward(backend, x, weights_.mlp_norm.view(), context_.desc.rms_norm_eps, dnormed, Accumulate::kYes,
                         dhidden_);
  }

  void Attention() {
    Backend& backend = context_.backend;
    const TensorView x = Window(saved_.attention_input), attention = Window(saved_.attention_output);
    const TensorView dattention = Rows(scratch_.attention), dq = Rows(scratch_.q);
    Linear(LinearKind::kOProj, attention, dhidden_, Accumulate::kNo, dattention);
    ops::AttentionBackward(backend, {.first_position = unit_.window.begin,
                                     .blocks = unit_.blocks,
                                     .kv = context_.kv.layer(unit_.layer),
                                     .options = {.scale = 1.0f / std::sqrt(static_cast<float>(context_.desc.head_dim))},
                                     .q = Window(saved_.q),
                                     .out = attention,
                                     .dout = dattention,
                                     .lse = Window(saved_.lse),
                                     .dq = dq,
                                     .dk = tape_.dk().view(),
                                     .dv = tape_.dv().view()});
    // Later windows are done and earlier rows never look ahead: this window's rows of dk and dv are final.
    const TensorView dk = Window(tape_.dk()), dv = Window(tape_.dv());
    ops::RopeBackward(backend, {&sequence_, 1}, context_.rope_table, dq);
    ops::RopeBackward(backend, {&sequence_, 1}, context_.rope_table, dk);

    const TensorView normed = Rows(scratch_.normed), dnormed = Rows(scratch_.dnormed);
    ops::RmsNorm(backend, x, weights_.attention_norm.view(), context_.desc.rms_norm_eps, normed);
    Linear(LinearKind::kQProj, normed, dq, Accumulate::kNo, dnormed);
    Linear(LinearKind::kKProj, normed, dk, Accumulate::kYes, dnormed);
    Linear(LinearKind::kVProj, normed, dv, Accumulate::kYes, dnormed);
    ops::RmsNormBackward(backend, x, weights_.attention_norm.view(), context_.desc.rms_norm_eps, dnormed,
                         Accumulate::kYes, dhidden_);
  }

  // dx (+)= dy W, and the bypass: its gradients, and its share of dx.
  void Linear(LinearKind kind, const TensorView& x, const TensorView& dy, Accumulate mode, const TensorView& dx) {
    ops::LinearBackwardInput(context_.backend, dy, weights_[kind], mode, dx);
    const AdapterPair* pair = adapter_->Find(unit_.layer, kind);
    if (pair == nullptr) return;
    const LoraSegment segment = {0, unit_.window.num_rows(), pair->a.get(), pair->b.get(), pair->scale};
    const LoraGradients& gradients = tape_.gradients()[unit_.layer].linears[static_cast<int>(kind)];
    ops::LoraBackward(context_.backend, x, dy, segment, gradients, dx);
  }

  TensorView Window(const Tensor& tensor) const {
    return tensor.view().Rows(unit_.window.begin, unit_.window.num_rows());
  }
  TensorView Rows(const Tensor& scratch) const { return scratch.view().Rows(0, unit_.window.num_rows()); }

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
