// The tape of one training sequence: what its forward windows leave for its backward units. Every saved tensor is
// indexed by absolute position, so any split of the sequence into windows leaves the same bytes behind.
//
// Kept per layer (see coserving.md, "The activation plan"): the input of each half, q, the attention output and its
// log-sum-exp, gate and up; and what a family's further norms read. K and V lie in the KV pool. Norm outputs,
// activations and P are recomputed, and so is all that happens within experts.
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

  struct Layer {              // empty where the family needs none
    Tensor attention_input;   // [length, hidden]
    Tensor q;                 // [length, num_heads * head_dim] as attention takes it; before its norm where it has one
    Tensor k;                 // [length, num_kv_heads * head_dim] before its norm, where it has one
    Tensor attention_output;  // [length, num_heads * head_dim] before o_proj
    Tensor lse;               // [length, num_heads]
    Tensor mlp_input;         // [length, hidden]
    Tensor gate, up;          // [length, ffn] of a dense MLP
    Tensor attention_branch, mlp_branch;  // [length, hidden] input of HalfNorms::out
    Tensor attention_sum, mlp_sum;        // [length, hidden] input of HalfNorms::after
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
