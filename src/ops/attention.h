// Causal grouped-query attention over the paged KV pool.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// Writes the rows' keys and values into their sequences' blocks.
void AppendKv(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
              const PagedKv& kv);
// out [m, num_heads * head_dim]; lse [m, num_heads], or without data where nobody needs it.
void Attention(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
               const AttentionOptions& options, const TensorView& out, const TensorView& lse);
// dq is written, dk and dv are added to. See coserving.md: exact for windows taken from the last to the first.
void AttentionBackward(Backend& backend, const AttentionBackwardArgs& args);

}  // namespace tandem::ops
