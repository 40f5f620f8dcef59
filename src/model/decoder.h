// The decoder's forward over one batch, and one backward unit: the only two walks over a layer's weights. Both do what
// the ModelDesc says and know no family.
#pragma once

#include <span>
#include <vector>

#include "adapter/adapter_store.h"
#include "backend/device_tensor.h"
#include "kv/kv_storage.h"
#include "model/bypass.h"
#include "model/description.h"
#include "model/tape.h"
#include "model/weights.h"
#include "tandem/backend.h"
#include "tandem/batch.h"

namespace tandem {

// What both walks read. Borrowed: the model owns it.
struct DecoderContext {
  Backend& backend;
  const ModelDesc& desc;
  const ModelWeights& weights;
  const KvStorage& kv;
  const AdapterStore& adapters;
  std::span<const DeviceTensor> rope_tables;  // [ropes], each [max_context, head_dim]

  AttentionOptions OptionsOf(int layer) const {
    return {.scale = desc.attention_scale, .window = desc.layers[layer].window, .soft_cap = desc.attention_soft_cap};
  }
};

// Of families with experts. A row has top_k choices; see tandem/op_args.h for what routing is.
struct ExpertScratch {
  DeviceTensor in, out, dx;             // [max_rows * top_k, hidden] by expert
  DeviceTensor logits, dlogits;         // [max_rows, experts] f32
  DeviceTensor dlogits_narrow;          // where activations are not f32
  DeviceTensor experts, places, order;  // [max_rows, top_k] i32, order [max_rows * top_k]
  DeviceTensor weights, dweights;       // [max_rows, top_k] f32
  DeviceTensor ends;                    // [experts] i32
};

// Scratch for up to max_rows rows of either walk, allocated once. Where backward has no name of its own it holds the
// gradient in the tensor that the forward keeps the value in.
struct DecoderScratch {
  DecoderScratch(Backend& backend, const ModelDesc& desc, DType activations, int max_rows);
  DeviceTensor normed, branch;   // [max_rows, hidden] input and output of one half of a block
  DeviceTensor q, attention;     // [max_rows, num_heads * head_dim]
  DeviceTensor k, v;             // [max_rows, num_kv_heads * head_dim]
  DeviceTensor lse;              // [max_rows, num_heads] f32
  DeviceTensor gate, up, gated;  // [max_rows, ffn]; of families with experts [max_rows * top_k, ffn]
  DeviceTensor dnormed, dgated;  // as normed and gated
  DeviceTensor q_normed;         // [max_rows, num_heads * head_dim] of families with q and k norms
  ExpertScratch experts;
  // Rows of the widest linear: an input scaled by an adapter, or in backward an output's gradient; a sum that stands
  // aside, or in backward the gradient of a scaled input.
  DeviceTensor scaled, aside;
  DeviceTensor embedded;  // [max_rows, embedding_width] of families with projections
  // Gradients that are sums in f32, in the activations' type: where that is another. Backward only.
  DeviceTensor dk, dv;  // as k and v
};

// The first elements of scratch as [rows, columns].
TensorView AsShape(const DeviceTensor& scratch, int64_t rows, int64_t columns);

// `gradient`, or its copy in `narrow` where activations have another type than the gradient's.
TensorView AsActivations(Backend& backend, const TensorView& gradient, const DeviceTensor& narrow);

// Embeds the rows of the batch: hidden [num_rows, hidden]. The rest of `scratch` is free before and after.
void EmbedTokens(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch, const TensorView& hidden);

// Runs all rows of the batch through every layer. hidden [num_rows, hidden] receives the last layer's output, before
// the final norm. Writes K and V of all rows to the pool and what backward needs to the tapes of kTrainForward spans.
void DecoderForward(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch,
                    const TensorView& hidden);

// Takes tape.dhidden rows [window) from the gradient of the layer's output to that of its input, adds to the adapter's
// gradients and, over the windows of a layer, completes dk and dv. See coserving.md, "Backward, exact under any split".
void DecoderBackward(const DecoderContext& context, const BackwardUnit& unit, DecoderScratch& scratch);

// y (+)= the description's norm of x, y may be x where it overwrites; the gradient through it.
void Norm(const DecoderContext& context, const NormWeights& norm, const TensorView& x, Accumulate mode,
          const TensorView& y);
void NormBackward(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& dy,
                  Accumulate mode, const TensorView& dx);
// The same of the RMS norm of every head of x [m, heads * head_dim].
void HeadNorm(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& y);
void HeadNormBackward(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& dy,
                      const TensorView& dx);

// The routed MLP of one layer: y += its output for x [m, hidden]. A row's experts are added in the order of their
// numbers, whatever the other rows choose.
void ExpertsForward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                    DecoderScratch& scratch, const TensorView& y);
// dx [m, hidden] = the gradient through experts and router of the output's gradient dy.
void ExpertsBackward(const DecoderContext& context, const LayerWeights& weights, const TensorView& x,
                     const TensorView& dy, DecoderScratch& scratch, const TensorView& dx);

}  // namespace tandem
