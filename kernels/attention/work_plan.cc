#include "work_plan.h"

#include <algorithm>

namespace tandem::kernels {
namespace {

// The splits of one tile of a span's packed rows.
void PlanDecodeTile(const AttentionSpan& span, int first, const PlanOptions& options, AttentionPlan& plan) {
  const int num_rows = std::min(kDecodeRows, span.num_rows * options.group - first);
  const int end = PackedPosition(span, options.group, first + num_rows - 1) + 1;
  const int seen = FirstSeen(PackedPosition(span, options.group, first), options.window) / kPageGrain * kPageGrain;
  const int split = SplitTokens(span.first_position + span.num_rows);
  const int first_split = seen / split, num_splits = (end + split - 1) / split - first_split;
  const bool combined = num_splits > 1;
  const int partial = plan.partial_rows, rows_per_split = num_rows * options.num_kv_heads;
  for (int s = 0; s < num_splits; ++s) {
    const int begin = (first_split + s) * split;
    plan.decode.push_back({.span = span,
                           .first = first,
                           .num_rows = num_rows,
                           .begin = std::max(begin, seen),
                           .end = std::min(begin + split, end),
                           .partial = combined ? partial + s * rows_per_split : -1});
  }
  if (!combined) return;
  plan.combine.push_back(
      {.span = span, .first = first, .num_rows = num_rows, .partial = partial, .num_splits = num_splits});
  plan.partial_rows += num_splits * rows_per_split;
}

// Keys that a tile of the prefill kernel takes.
int KeysOf(const RowTile& tile, const PlanOptions& options) {
  const int last = std::min(tile.first + options.prefill_rows, tile.span.num_rows * options.group) - 1;
  return PackedPosition(tile.span, options.group, last) + 1 -
         FirstSeen(PackedPosition(tile.span, options.group, tile.first), options.window);
}

}  // namespace

AttentionPlan PlanAttention(std::span<const AttentionSpan> spans, const PlanOptions& options) {
  AttentionPlan plan;
  for (const AttentionSpan& span : spans) {
    const int packed = span.num_rows * options.group;
    const bool decode = span.num_rows == 1 || packed <= kDecodeRows;
    if (decode && !options.deterministic) {
      for (int first = 0; first < packed; first += kDecodeRows) PlanDecodeTile(span, first, options, plan);
    } else {
      for (int first = 0; first < packed; first += options.prefill_rows) plan.prefill.push_back({span, first});
    }
  }
  std::stable_sort(plan.prefill.begin(), plan.prefill.end(),
                   [&](const RowTile& a, const RowTile& b) { return KeysOf(a, options) > KeysOf(b, options); });
  return plan;
}

}  // namespace tandem::kernels
