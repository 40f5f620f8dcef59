#include "model/bypass.h"

#include "base/check.h"

namespace tandem {

Bypasses::Bypasses(std::span<const Span> spans, const AdapterStore& adapters) {
  for (const Span& span : spans) {
    if (span.adapter.is_base()) continue;
    const Adapter* adapter = adapters.Find(span.adapter);
    CHECK(adapter != nullptr) << "adapter " << span.adapter.id << " generation " << span.adapter.generation;
    Rows* last = rows_.empty() ? nullptr : &rows_.back();
    if (last != nullptr && last->adapter == adapter && last->first_row + last->num_rows == span.first_row) {
      last->num_rows += span.num_rows;
    } else {
      rows_.push_back({adapter, span.first_row, span.num_rows});
    }
  }
}

const BypassSite& Bypasses::At(int layer, LinearKind kind, const TensorView& bias) {
  site_.inputs.clear();
  site_.pairs.clear();
  site_.outputs.clear();
  site_.bottlenecks.clear();
  site_.output_rows.clear();
  for (const Rows& rows : rows_) {
    const AdapterBypass* bypass = rows.adapter->Find(layer, kind);
    if (bypass == nullptr) continue;
    if (bypass->a != nullptr) {
      auto& pairs = bypass->adds_to_input_path() ? site_.pairs : site_.bottlenecks;
      pairs.push_back(bypass->Pair(rows.first_row, rows.num_rows));
    }
    if (!bypass->factor.empty()) {
      auto& scales = bypass->scales_input ? site_.inputs : site_.outputs;
      scales.push_back(bypass->Scale(rows.first_row, rows.num_rows, bias));
    }
    if (bypass->reads_output) site_.output_rows.push_back({rows.first_row, rows.num_rows});
  }
  return site_;
}

}  // namespace tandem
