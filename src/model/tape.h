// The tape of one training sequence: what its forward windows leave for its backward units. Every saved tensor is
// indexed by absolute position, so any split of the sequence into windows leaves the same bytes behind.
//
// Kept per layer (see coserving.md, "The activation plan"): the input of each half, q, the attention output and its
// log-sum-exp, gate and up; and what a family's further norms read. K and V lie in the KV pool. Norm outputs,
// activations and P are recomputed, and so is all that happens within experts. Where a job's bypass reads what its
// linear computes, that output is kept too: at most the width of the linear, which a second product would cost else.
#pragma once

#include <span>
#include <vector>

#include "backend/device_tensor.h"
#include "model/description.h"
#include "tandem/backend.h"
#include "tandem/batch.h"
#include "tandem/linears.h"

namespace tandem {

// Where the gradients of one bypass go; empty views where its method has no such parameter.
struct BypassGradients {
  TensorView da = {}, db = {}, dfactor = {};
};

struct LayerGradients {
  BypassGradients linears[kNumLinears];  // by LinearKind; empty where there is no bypass
};

class Tape {
 public:
  // Room for sequences of up to max_length tokens, with the outputs of `kept` linears.
  Tape(Backend& backend, const ModelDesc& desc, DType activations, int max_length,
       std::span<const LinearKind> kept = {});

  // Starts a new sequence of `length` tokens whose gradients go to `gradients` [num_layers]: borrowed until the next
  // Begin.
  void Begin(int length, const std::vector<LayerGradients>* gradients);

  struct Layer {                   // empty where the family needs none
    DeviceTensor attention_input;  // [length, hidden]
    DeviceTensor q;  // [length, num_heads * head_dim] as attention takes it; before its norm where it has one
    DeviceTensor k;  // [length, num_kv_heads * head_dim] before its norm, where it has one
    DeviceTensor attention_output;              // [length, num_heads * head_dim] before o_proj
    DeviceTensor lse;                           // [length, num_heads] f32
    DeviceTensor mlp_input;                     // [length, hidden]
    DeviceTensor gate, up;                      // [length, ffn] of a dense MLP
    DeviceTensor attention_branch, mlp_branch;  // [length, hidden] input of HalfNorms::out
    DeviceTensor attention_sum, mlp_sum;        // [length, hidden] input of HalfNorms::after
    DeviceTensor outputs[kNumLinears];          // [length, out] of kept linears, by LinearKind; before what reads them
  };
  std::vector<Layer>& layers() { return layers_; }
  // [length, hidden]: the gradient with respect to the output of the layer that backward works on, then of its input.
  DeviceTensor& dhidden() { return dhidden_; }
  DeviceTensor& dk() { return dk_; }  // [length, num_kv_heads * head_dim] f32, of the layer that backward works on
  DeviceTensor& dv() { return dv_; }
  const std::vector<LayerGradients>& gradients() const { return *gradients_; }
  int length() const { return length_; }

  // Units that ran before their job was told (model/backward_lane.h). They run in a fixed order: the last one says it.
  void NoteBackward(const BackwardUnit& unit) { last_layer_ = unit.layer, last_begin_ = unit.window.begin; }
  bool RanBackward(const BackwardUnit& unit) const {
    return unit.layer > last_layer_ || (unit.layer == last_layer_ && unit.window.begin >= last_begin_);
  }
  static size_t BytesFor(const ModelDesc& desc, DType activations, int max_length,
                         std::span<const LinearKind> kept = {});

 private:
  int length_ = 0;
  int last_layer_ = 0, last_begin_ = 0;  // of the unit noted last; after Begin: beyond all
  std::vector<Layer> layers_;
  DeviceTensor dhidden_, dk_, dv_;
  const std::vector<LayerGradients>* gradients_ = nullptr;
};

}  // namespace tandem
