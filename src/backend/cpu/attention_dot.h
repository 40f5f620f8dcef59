// Attention's two products on CPUs with AVX512-BF16, over a bf16 pool in KvLayout::kPaired. As in dot_product.h each
// result is one chain of vdpbf16ps in order: over head_dim for a score, over positions for an output.
#pragma once

#include "backend/cpu/attention_kernels.h"

namespace tandem::cpu {

// AttentionScores for such a pool: q is rounded to bf16 in tile.rounded_q.
void DotScores(const AttentionTile& tile);

// out = P V over the positions that any row of the tile sees. P stands in tile.scores, 0 where a row does not see; it
// is rounded to bf16 in tile.rounded_scores.
void DotValues(const AttentionTile& tile);

}  // namespace tandem::cpu
