// The tape of one training sequence: what its forward windows leave for its backward units. Every saved tensor is
// indexed by absolute position, so any split of the sequence into windows leaves the same bytes behind.
//
// Kept per layer (see coserving.md, "The activation plan"): both norm inputs, post-RoPE q, the attention output and its
// log-sum-exp, gate and up. K and V lie in the KV pool. Norm outputs, silu(gate) * up and P are recomputed.
#pragma once

#include <vector>

#include "model/description.h"
#include "tandem/backend.h"
#include "tandem/linears.h"
#include "tensor/tensor.h"

namespace tandem {

// Where the gradients of one LoRA pair go; empty views where the pair does not exist.
struct LayerGradients {
  LoraGradients linears[kNumLinears];  // by LinearKind
};

class Tape {
 public:
  // Room for sequences of up to max_length tokens.
  Tape(const ModelDesc& desc, int max_length);

  // Starts a new sequence of `length` tokens whose gradients go to `gradients` [num_layers]: borrowed until the next
  // Begin.
  void Begin(int length, const std::vector<LayerGradients>* gradients);

  struct Layer {
    Tensor attention_input;   // [length, hidden] input of the first norm
    Tensor q;                 // [length, num_heads * head_dim] after RoPE
    Tensor attention_output;  // [length, num_heads * head_dim] before o_proj
    Tensor lse;               // [length, num_heads]
    Tensor mlp_input;         // [length, hidden] input of the second norm
    Tensor gate, up;          // [length, ffn]
  };
  std::vector<Layer>& layers() { return layers_; }
  // [length, hidden]: the gradient with respect to the output of the layer that backward works on, then of its input.
  Tensor& dhidden() { return dhidden_; }
  Tensor& dk() { return dk_; }  // [length, num_kv_heads * head_dim] of the layer that backward works on
  Tensor& dv() { return dv_; }
  const std::vector<LayerGradients>& gradients() const { return *gradients_; }
  int length() const { return length_; }
  static size_t BytesFor(const ModelDesc& desc, int max_length);

 private:
  int length_ = 0;
  std::vector<Layer> layers_;
  Tensor dhidden_, dk_, dv_;
  const std::vector<LayerGradients>* gradients_ = nullptr;
};

}  // namespace tandem
