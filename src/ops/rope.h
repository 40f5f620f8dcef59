// Rotary position embedding (Su et al. 2021), in the half-split layout of Llama: pairs (i, i + head_dim / 2).
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// table: [positions, head_dim], cos in the first half of a row, sin in the second. In place on x [m, heads * head_dim].
void Rope(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& table, const TensorView& x);
void RopeBackward(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& table,
                  const TensorView& dx);

}  // namespace tandem::ops
