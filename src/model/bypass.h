// Which rows of a step go through which adapter: the bypasses around the backbone's linears, span by span.
#pragma once

#include <span>
#include <vector>

#include "adapter/adapter_store.h"
#include "tandem/batch.h"
#include "tandem/linears.h"

namespace tandem {

// The adapters of one batch's rows. Neighbouring spans of one adapter share a segment. Borrows the adapters for the
// step.
class Bypasses {
 public:
  Bypasses(std::span<const Span> spans, const AdapterStore& adapters);

  // The segments around one linear, in row order; empty where no row has a bypass there. Valid until the next call.
  std::span<const LoraSegment> Segments(int layer, LinearKind kind);

 private:
  struct Rows {
    const Adapter* adapter;
    int first_row, num_rows;
  };
  std::vector<Rows> rows_;
  std::vector<LoraSegment> segments_;
};

}  // namespace tandem
