#include <algorithm>
#include <functional>

#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/column_scale.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/rope.h"

namespace tandem {
namespace {

// Forward state of one batch: everything a layer needs, so that the layer reads like the architecture.
class Forward {
 public:
  Forward(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch, const TensorView& hidden)
      : context_(context), batch_(batch), scratch_(scratch), hidden_(hidden), bypasses_(batch.spans, context.adapters) {
    for (const Span& span : batch.spans) {
      sequences_.push_back({span.first_row, span.num_rows, span.first_position, span.blocks});
    }
  }

  void Run() {
    EmbedTokens(context_, batch_, scratch_, hidden_);
    for (int layer = 0; layer < context_.desc.num_layers; ++layer) {
      Attention(layer);
      Mlp(layer);
    }
  }

 private:
  void Attention(int layer) {
    const HalfNormWeights& norms = Layer(layer).attention_norms;
    const TensorView q = Rows(scratch_.q), k = Rows(scratch_.k), v = Rows(scratch_.v);
    const TensorView attention = Rows(scratch_.attention), lse = Rows(scratch_.lse);
    Save(layer, &Tape::Layer::attention_input, hidden_);
    const TensorView x = Input(norms);
    Linear(layer, LinearKind::kQProj, x, Accumulate::kNo, q);
    Linear(layer, LinearKind::kKProj, x, Accumulate::kNo, k);
    Linear(layer, LinearKind::kVProj, x, Accumulate::kNo, v);
    NormHeads(layer, q, k);
    if (!context_.rope_tables.empty()) {
      const TensorView table = context_.rope_tables[context_.desc.layers[layer].rope].view();
      ops::Rope(context_.backend, sequences_, table, q);
      ops::Rope(context_.backend, sequences_, table, k);
    }
    ops::AppendKv(context_.backend, sequences_, k, v, context_.kv.layer(layer));
    ops::Attention(context_.backend, sequences_, q, context_.kv.layer(layer), context_.OptionsOf(layer), attention,
                   lse);
    if (!Layer(layer).q_norm.exists()) Save(layer, &Tape::Layer::q, q);
    Save(layer, &Tape::Layer::attention_output, attention);
    Save(layer, &Tape::Layer::lse, lse);
    AddBranch(norms, {layer, &Tape::Layer::attention_branch, &Tape::Layer::attention_sum},
              [&](Accumulate mode, const TensorView& y) { Linear(layer, LinearKind::kOProj, attention, mode, y); });
  }

  // The norms of every head, in place; what they read goes to the tapes.
  void NormHeads(int layer, const TensorView& q, const TensorView& k) {
    const LayerWeights& weights = Layer(layer);
    if (!weights.q_norm.exists()) return;
    Save(layer, &Tape::Layer::q, q);
    Save(layer, &Tape::Layer::k, k);
    HeadNorm(context_, weights.q_norm, q, q);
    HeadNorm(context_, weights.k_norm, k, k);
  }

  void Mlp(int layer) {
    const HalfNormWeights& norms = Layer(layer).mlp_norms;
    Save(layer, &Tape::Layer::mlp_input, hidden_);
    const TensorView x = Input(norms);
    const auto branch = [&](Accumulate mode, const TensorView& y) {
      if (context_.desc.experts.count == 0) return DenseMlp(layer, x, mode, y);
      if (mode == Accumulate::kNo) context_.backend.Zero(y);
      ExpertsForward(context_, Layer(layer), x, scratch_, y);
    };
    AddBranch(norms, {layer, &Tape::Layer::mlp_branch, &Tape::Layer::mlp_sum}, branch);
  }

  void DenseMlp(int layer, const TensorView& x, Accumulate mode, const TensorView& y) {
    const TensorView gate = Rows(scratch_.gate), up = Rows(scratch_.up), gated = Rows(scratch_.gated);
    if (context_.desc.gated) {
      Linear(layer, LinearKind::kGateProj, x, Accumulate::kNo, gate);
      Save(layer, &Tape::Layer::gate, gate);
    }
    Linear(layer, LinearKind::kUpProj, x, Accumulate::kNo, up);
    Save(layer, &Tape::Layer::up, up);
    if (context_.desc.gated) {
      ops::ActivateMul(context_.backend, context_.desc.activation, gate, up, gated);
    } else {
      ops::Activate(context_.backend, context_.desc.activation, up, gated);
    }
    Linear(layer, LinearKind::kDownProj, gated, mode, y);
  }

  // What one half of a block reads: hidden, through its norm where it has one.
  TensorView Input(const HalfNormWeights& norms) {
    if (!norms.in.exists()) return hidden_;
    Norm(context_, norms.in, hidden_, Accumulate::kNo, Rows(scratch_.normed));
    return Rows(scratch_.normed);
  }

  struct BranchTape {
    int layer;
    DeviceTensor Tape::Layer::*branch;
    DeviceTensor Tape::Layer::*sum;
  };
  // hidden = after(hidden + out(branch)), with the norms that there are. branch(mode, y) computes the branch into y.
  // The sum has no pass of its own: the branch's last product adds to hidden, or the norm behind it does. That is a
  // read of hidden, where a sum fused with the next norm reads the branch and writes hidden: one pass more, and the
  // branch rounded once more.
  template <typename Branch>
  void AddBranch(const HalfNormWeights& norms, const BranchTape& tape, Branch&& branch) {
    if (norms.out.exists()) {
      const TensorView y = Rows(scratch_.branch);
      branch(Accumulate::kNo, y);
      Save(tape.layer, tape.branch, y);
      Norm(context_, norms.out, y, Accumulate::kYes, hidden_);
    } else {
      branch(Accumulate::kYes, hidden_);
    }
    if (!norms.after.exists()) return;
    Save(tape.layer, tape.sum, hidden_);
    Norm(context_, norms.after, hidden_, Accumulate::kNo, hidden_);
  }

  // The backbone's product over all rows and its bias, the bypasses over theirs.
  void Linear(int layer, LinearKind kind, const TensorView& x, Accumulate mode, const TensorView& y) {
    Backend& backend = context_.backend;
    const TensorView bias = Layer(layer).biases[static_cast<int>(kind)].view();
    const BypassSite& site = bypasses_.At(layer, kind, bias);
    const bool stands_aside = mode == Accumulate::kYes && !site.output_rows.empty();
    if (stands_aside) SetAside(site.output_rows, y);
    ops::Linear(backend, ScaledInput(site, x), Layer(layer)[kind], mode, y);
    if (context_.desc.has_bias(kind)) ops::AddBias(backend, bias, y);
    ops::Lora(backend, x, site.pairs, y);
    Save(
        layer, [kind](Tape::Layer& saved) -> DeviceTensor& { return saved.outputs[static_cast<int>(kind)]; }, y);
    ops::ScaleColumns(backend, site.outputs, y);
    ops::Lora(backend, y, site.bottlenecks, y);
    if (stands_aside) TakeBack(site.output_rows, y);
  }

  // x, with the rows scaled that a bypass scales.
  TensorView ScaledInput(const BypassSite& site, const TensorView& x) {
    if (site.inputs.empty()) return x;
    const TensorView scaled = AsShape(scratch_.scaled, x.rows(), x.shape[1]);
    context_.backend.Copy(x, scaled);
    ops::ScaleColumns(context_.backend, site.inputs, scaled);
    return scaled;
  }

  // Some rows of the sum that a linear is about to be added to: zero, so that they become its output alone; and back.
  // All other rows, and their bits, are as ever.
  void SetAside(std::span<const BypassSite::Rows> parts, const TensorView& sum) {
    const TensorView aside = AsShape(scratch_.aside, sum.rows(), sum.shape[1]);
    for (const BypassSite::Rows& rows : parts) {
      const TensorView part = sum.Rows(rows.first, rows.count);
      context_.backend.Copy(part, aside.Rows(rows.first, rows.count));
      context_.backend.Zero(part);
    }
  }
  void TakeBack(std::span<const BypassSite::Rows> parts, const TensorView& sum) {
    const TensorView aside = AsShape(scratch_.aside, sum.rows(), sum.shape[1]);
    for (const BypassSite::Rows& rows : parts) {
      ops::Add(context_.backend, aside.Rows(rows.first, rows.count), sum.Rows(rows.first, rows.count));
    }
  }

  // The rows of training spans to their tapes, each at its own position; where the tape has room for such.
  template <typename Where>
  void Save(int layer, Where&& where, const TensorView& rows) {
    for (const Span& span : batch_.spans) {
      if (span.tape == nullptr) continue;
      const DeviceTensor& saved = std::invoke(where, span.tape->layers()[layer]);
      if (saved.empty()) continue;
      context_.backend.Copy(rows.Rows(span.first_row, span.num_rows),
                            saved.view().Rows(span.first_position, span.num_rows));
    }
  }

  const LayerWeights& Layer(int layer) const { return context_.weights.layers[layer]; }
  TensorView Rows(const DeviceTensor& scratch) const { return scratch.view().Rows(0, batch_.num_rows()); }

  const DecoderContext& context_;
  const Batch& batch_;
  DecoderScratch& scratch_;
  const TensorView hidden_;
  Bypasses bypasses_;
  std::vector<SequenceRows> sequences_;
};

}  // namespace

DecoderScratch::DecoderScratch(Backend& backend, const ModelDesc& desc, DType activations, int max_rows) {
  const auto rows_of = [&](DType dtype, int64_t columns) {
    return columns == 0 ? DeviceTensor() : DeviceTensor(backend, dtype, {max_rows, columns});
  };
  const auto rows = [&](int64_t columns) { return rows_of(activations, columns); };
  const bool narrow = activations != DType::kF32;
  normed = rows(desc.hidden);
  branch = rows(desc.hidden);
  q = rows(desc.q_size());
  attention = rows(desc.q_size());
  k = rows(desc.kv_size());
  v = rows(desc.kv_size());
  lse = rows_of(DType::kF32, desc.num_heads);
  const int choices = desc.experts.count > 0 ? max_rows * desc.experts.routing.top_k : max_rows;
  const auto mlp_rows = [&](int64_t columns) { return DeviceTensor(backend, activations, {choices, columns}); };
  if (desc.gated) gate = mlp_rows(desc.ffn);
  up = mlp_rows(desc.ffn);
  gated = mlp_rows(desc.ffn);
  dnormed = rows(desc.hidden);
  dgated = mlp_rows(desc.ffn);
  q_normed = rows(desc.q_norm.empty() ? 0 : desc.q_size());
  if (desc.experts.count > 0) {
    const int top_k = desc.experts.routing.top_k;
    experts.in = mlp_rows(desc.hidden);
    experts.out = mlp_rows(desc.hidden);
    experts.dx = mlp_rows(desc.hidden);
    experts.logits = rows_of(DType::kF32, desc.experts.count);
    experts.dlogits = rows_of(DType::kF32, desc.experts.count);
    experts.dlogits_narrow = rows(narrow ? desc.experts.count : 0);
    experts.experts = rows_of(DType::kI32, top_k);
    experts.places = rows_of(DType::kI32, top_k);
    experts.order = DeviceTensor(backend, DType::kI32, {choices});
    experts.weights = rows_of(DType::kF32, top_k);
    experts.dweights = rows_of(DType::kF32, top_k);
    experts.ends = DeviceTensor(backend, DType::kI32, {desc.experts.count});
  }
  const int64_t widest = std::max({desc.hidden, desc.q_size(), desc.ffn});
  scaled = rows(widest);
  aside = rows(widest);
  dk = rows(narrow ? desc.kv_size() : 0);
  dv = rows(narrow ? desc.kv_size() : 0);
  embedded = rows(desc.names.project_in.empty() ? 0 : desc.embedding_width);
}

TensorView AsShape(const DeviceTensor& scratch, int64_t rows, int64_t columns) {
  return {scratch.view().data, scratch.view().dtype, {rows, columns}};
}

TensorView AsActivations(Backend& backend, const TensorView& gradient, const DeviceTensor& narrow) {
  if (narrow.empty()) return gradient;
  const TensorView copy = narrow.view().Rows(0, gradient.rows());
  backend.Copy(gradient, copy);
  return copy;
}

void EmbedTokens(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch, const TensorView& hidden) {
  Backend& backend = context.backend;
  const ModelWeights& weights = context.weights;
  if (weights.project_in == nullptr) {
    ops::Embedding(backend, batch.token_ids, *weights.embedding, hidden);
  } else {
    const TensorView embedded = scratch.embedded.view().Rows(0, batch.num_rows());
    ops::Embedding(backend, batch.token_ids, *weights.embedding, embedded);
    ops::Linear(backend, embedded, *weights.project_in, Accumulate::kNo, hidden);
  }
  if (context.desc.embedding_scale != 1) ops::Scale(backend, context.desc.embedding_scale, hidden);
  if (weights.positions == nullptr) return;
  std::vector<int32_t> positions;
  for (const Span& span : batch.spans) {
    for (int i = 0; i < span.num_rows; ++i) {
      positions.push_back(span.first_position + i + context.desc.position_offset);
    }
  }
  const TensorView learned = scratch.normed.view().Rows(0, batch.num_rows());
  ops::Embedding(backend, positions, *weights.positions, learned);
  ops::Add(backend, learned, hidden);
}

void DecoderForward(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch,
                    const TensorView& hidden) {
  Forward(context, batch, scratch, hidden).Run();
}

}  // namespace tandem
