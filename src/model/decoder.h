// The decoder's forward over one batch, and one backward unit: the only two walks over a layer's weights.
#pragma once

#include <span>
#include <vector>

#include "adapter/adapter_store.h"
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
  TensorView rope_table;  // [max_context, head_dim]
};

// Scratch for up to max_rows rows of either walk, allocated once. Where backward has no name of its own it holds the
// gradient in the tensor that the forward keeps the value in.
struct DecoderScratch {
  DecoderScratch(const ModelDesc& desc, int max_rows);
  Tensor normed;           // [max_rows, hidden]
  Tensor q, attention;     // [max_rows, num_heads * head_dim]
  Tensor k, v;             // [max_rows, num_kv_heads * head_dim]
  Tensor lse;              // [max_rows, num_heads]
  Tensor gate, up, gated;  // [max_rows, ffn]
  Tensor dnormed, dgated;  // as normed and gated
};

// Runs all rows of the batch through every layer. hidden [num_rows, hidden] receives the last layer's output, before
// the final norm. Writes K and V of all rows to the pool and what backward needs to the tapes of kTrainForward spans.
void DecoderForward(const DecoderContext& context, const Batch& batch, DecoderScratch& scratch,
                    const TensorView& hidden);

// Takes tape.dhidden rows [window) from the gradient of the layer's output to that of its input, adds to the adapter's
// gradients and, over the windows of a layer, completes dk and dv. See coserving.md, "Backward, exact under any split".
void DecoderBackward(const DecoderContext& context, const BackwardUnit& unit, DecoderScratch& scratch);

}  // namespace tandem
