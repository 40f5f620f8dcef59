#include "model/tape.h"

#include "base/check.h"

namespace tandem {

namespace {

// Every tensor of a layer but lse with its width in this family: 0 where it has none.
template <typename Fn>
void ForEachTensor(const ModelDesc& desc, Fn&& fn) {
  const auto if_named = [&](const std::string& name, int width) { return name.empty() ? 0 : width; };
  const int dense_ffn = desc.experts.count > 0 ? 0 : desc.ffn;
  fn(&Tape::Layer::attention_input, desc.hidden);
  fn(&Tape::Layer::q, desc.q_size());
  fn(&Tape::Layer::k, if_named(desc.k_norm, desc.kv_size()));
  fn(&Tape::Layer::attention_output, desc.q_size());
  fn(&Tape::Layer::mlp_input, desc.hidden);
  fn(&Tape::Layer::gate, desc.gated ? dense_ffn : 0);
  fn(&Tape::Layer::up, dense_ffn);
  fn(&Tape::Layer::attention_branch, if_named(desc.attention_norms.out, desc.hidden));
  fn(&Tape::Layer::attention_sum, if_named(desc.attention_norms.after, desc.hidden));
  fn(&Tape::Layer::mlp_branch, if_named(desc.mlp_norms.out, desc.hidden));
  fn(&Tape::Layer::mlp_sum, if_named(desc.mlp_norms.after, desc.hidden));
}

}  // namespace

Tape::Tape(Backend& backend, const ModelDesc& desc, DType activations, int max_length,
           std::span<const LinearKind> kept) {
  const LinearShapes shapes = desc.linear_shapes();
  const auto rows = [&](DType dtype, int64_t columns) { return DeviceTensor(backend, dtype, {max_length, columns}); };
  for (int i = 0; i < desc.num_layers; ++i) {
    Layer& layer = layers_.emplace_back();
    ForEachTensor(desc, [&](DeviceTensor Layer::*tensor, int width) {
      if (width > 0) layer.*tensor = rows(activations, width);
    });
    for (const LinearKind kind : kept) layer.outputs[static_cast<int>(kind)] = rows(activations, shapes[kind].out);
    layer.lse = rows(DType::kF32, desc.num_heads);
  }
  dhidden_ = rows(activations, desc.hidden);
  dk_ = rows(DType::kF32, desc.kv_size());
  dv_ = rows(DType::kF32, desc.kv_size());
}

size_t Tape::BytesFor(const ModelDesc& desc, DType activations, int max_length, std::span<const LinearKind> kept) {
  size_t layer = 0;
  const LinearShapes shapes = desc.linear_shapes();
  for (const LinearKind kind : kept) layer += shapes[kind].out;
  ForEachTensor(desc, [&](DeviceTensor Layer::*, int width) { layer += width; });
  const size_t in_f32 = desc.num_layers * desc.num_heads + 2 * desc.kv_size();
  const size_t others = desc.num_layers * layer + desc.hidden;
  return (others * ByteSize(activations) + in_f32 * sizeof(float)) * max_length;
}

void Tape::Begin(int length, const std::vector<LayerGradients>* gradients) {
  CHECK_LE(length, dhidden_.shape()[0]);
  CHECK_EQ(gradients->size(), layers_.size());
  length_ = length;
  last_layer_ = static_cast<int>(layers_.size());
  last_begin_ = 0;
  gradients_ = gradients;
}

}  // namespace tandem
