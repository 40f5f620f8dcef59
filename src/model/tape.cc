#include "model/tape.h"

#include <cstring>

#include "base/check.h"

namespace tandem {

Tape::Tape(const ModelDesc& desc, int max_length) {
  const auto rows = [max_length](int64_t columns) { return Tensor::Empty(DType::kF32, {max_length, columns}); };
  for (int i = 0; i < desc.num_layers; ++i) {
    layers_.push_back({.attention_input = rows(desc.hidden),
                       .q = rows(desc.q_size()),
                       .attention_output = rows(desc.q_size()),
                       .lse = rows(desc.num_heads),
                       .mlp_input = rows(desc.hidden),
                       .gate = rows(desc.ffn),
                       .up = rows(desc.ffn)});
  }
  dhidden_ = rows(desc.hidden);
  dk_ = rows(desc.kv_size());
  dv_ = rows(desc.kv_size());
}

size_t Tape::BytesFor(const ModelDesc& desc, int max_length) {
  const size_t layer = 2 * desc.hidden + 2 * desc.q_size() + desc.num_heads + 2 * desc.ffn;
  const size_t shared = desc.hidden + 2 * desc.kv_size();
  return (layer * desc.num_layers + shared) * max_length * sizeof(float);
}

void Tape::Begin(int length, const std::vector<LayerGradients>* gradients) {
  CHECK_LE(length, dhidden_.shape()[0]);
  CHECK_EQ(gradients->size(), layers_.size());
  length_ = length;
  gradients_ = gradients;
}

}  // namespace tandem
