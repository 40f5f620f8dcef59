// Which rows of a step go through which adapter: the bypasses around the backbone's linears, span by span.
#pragma once

#include <span>
#include <vector>

#include "adapter/adapter_store.h"
#include "tandem/batch.h"
#include "tandem/linears.h"

namespace tandem {

// The bypasses of all rows around one linear y = W x + bias, in row order, in the order in which they act. PeftMethod
// says what each computes.
struct BypassSite {
  std::vector<ScaleSegment> inputs;      // before the linear: x
  std::vector<LoraSegment> pairs;        // beside it: x to y
  std::vector<ScaleSegment> outputs;     // after it: y
  std::vector<LoraSegment> bottlenecks;  // after it: y to y
  // Rows whose bypass reads y: where the linear adds to a sum, that sum must stand aside meanwhile.
  struct Rows {
    int first = 0, count = 0;
  };
  std::vector<Rows> output_rows;
};

// The adapters of one batch's rows. Neighbouring spans of one adapter share a segment. Borrows the adapters for the
// step.
class Bypasses {
 public:
  Bypasses(std::span<const Span> spans, const AdapterStore& adapters);

  // Around one linear; empty where no row has a bypass there. Valid until the next call. `bias` may have no data.
  const BypassSite& At(int layer, LinearKind kind, const TensorView& bias);

 private:
  struct Rows {
    const Adapter* adapter;
    int first_row, num_rows;
  };
  std::vector<Rows> rows_;
  BypassSite site_;
};

}  // namespace tandem
