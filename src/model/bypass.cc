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

std::span<const LoraSegment> Bypasses::Segments(int layer, LinearKind kind) {
  segments_.clear();
  for (const Rows& rows : rows_) {
    const AdapterPair* pair = rows.adapter->Find(layer, kind);
    if (pair == nullptr) continue;
    segments_.push_back({rows.first_row, rows.num_rows, pair->a.get(), pair->b.get(), pair->scale});
  }
  return segments_;
}

}  // namespace tandem
