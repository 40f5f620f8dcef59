#include <cmath>
#include <cstring>

#include "model/decoder.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/norm.h"
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
    ops::Embedding(context_.backend, batch_.token_ids, *context_.weights.embedding, hidden_);
    for (int layer = 0; layer < context_.desc.num_layers; ++layer) {
      Attention(layer);
      Mlp(layer);
    }
  }

 private:
  void Attention(int layer) {
    const LayerWeights& weights = context_.weights.layers[layer];
    const TensorView x = Rows(scratch_.normed), q = Rows(scratch_.q), k = Rows(scratch_.k), v = Rows(scratch_.v);
    const TensorView attention = Rows(scratch_.attention), lse = Rows(scratch_.lse);
    Save(layer, &Tape::Layer::attention_input, hidden_);
    ops::RmsNorm(context_.backend, hidden_, weights.attention_norm.view(), context_.desc.rms_norm_eps, x);
    Linear(layer, LinearKind::kQProj, x, Accumulate::kNo, q);
    Linear(layer, LinearKind::kKProj, x, Accumulate::kNo, k);
    Linear(layer, LinearKind::kVProj, x, Accumulate::kNo, v);
    ops::Rope(context_.backend, sequences_, context_.rope_table, q);
    ops::Rope(context_.backend, sequences_, context_.rope_table, k);
    ops::AppendKv(context_.backend, sequences_, k, v, context_.kv.layer(layer));
    const float scale = 1.0f / std::sqrt(static_cast<float>(context_.desc.head_dim));
    ops::Attention(context_.backend, sequences_, q, context_.kv.layer(layer), {.scale = scale}, attention, lse);
    Save(layer, &Tape::Layer::q, q);
    Save(layer, &Tape::Layer::attention_output, attention);
    Save(layer, &Tape::Layer::lse, lse);
    Linear(layer, LinearKind::kOProj, attention, Accumulate::kYes, hidden_);
  }

  void Mlp(int layer) {
    const LayerWeights& weights = context_.weights.layers[layer];
    const TensorView x = Rows(scratch_.normed), gate = Rows(scratch_.gate), up = Rows(scratch_.up);
    const TensorView gated = Rows(scratch_.gated);
    Save(layer, &Tape::Layer::mlp_input, hidden_);
    ops::RmsNorm(context_.backend, hidden_, weights.mlp_norm.view(), context_.desc.rms_norm_eps, x);
    Linear(layer, LinearKind::kGateProj, x, Accumulate::kNo, gate);
    Linear(layer, LinearKind::kUpProj, x, Accumulate::kNo, up);
    Save(layer, &Tape::Layer::gate, gate);
    Save(layer, &Tape::Layer::up, up);
    ops::ActivateMul(context_.backend, Activation::kSilu, gate, up, gated);
    Linear(layer, LinearKind::kDownProj, gated, Accumulate::kYes, hidden_);
  }

  // The backbone's product over all rows, then the bypasses over theirs.
  void Linear(int layer, LinearKind kind, const TensorView& x, Accumulate mode, const TensorView& y) {
    ops::Linear(context_.backend, x, context_.weights.layers[layer][kind], mode, y);
    ops::Lora(context_.backend, x, bypasses_.Segments(layer, kind), y);
  }

  // The rows of training spans to their tapes, each at its own position.
  void Save(int layer, Tensor Tape::Layer::*where, const TensorView& rows) {
    for (const Span& span : batch_.spans) {
      if (span.tape == nullptr) continue;
      const TensorView saved = (span.tape->layers()[layer].*where).view().Rows(span.first_position, span.num_rows);
      std::memcpy(saved.data, rows.Rows(span.first_row, span.num_rows).data, saved.size_bytes());
    }
  }

  TensorView Rows(const Tensor& scratch) const { return scratch.view().Rows(0, batch_.num_rows()); }

  const DecoderContext& context_;
  const Batch& batch_;
  DecoderScratch& scratch_;
  const TensorView hidden_;
  Bypasses bypasses_;
  std::vector<SequenceRows> sequences_;
};

}  // namespace

DecoderScratch::DecoderScratch(const ModelDesc& desc, int max_rows) {
  const auto rows = [max_rows](int64_t columns) { return Tensor::Empty(DType::kF32, {max_rows, columns}); };
  normed = rows(desc.hidden);
  q = rows(desc.q_size());
  attention = rows(desc.q_size());
  k = rows(desc.kv_size());
  v = rows(desc.kv_size());
  lse = rows(desc.num_heads);
  gate = rows(desc.ffn);
  up = rows(desc.ffn);
  gated = rows(desc.ffn);
  dnormed = rows(desc.hidden);
  dgated = rows(desc.ffn);
}

void DecoderForward(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch,
                    const TensorView& hidden) {
  Forward(context, batch, scratch, hidden).Run();
}

}  // namespace tandem
