// A machine that is a formula, for tests of what predicts and plans: arithmetic and weight reading as a roofline.
#pragma once

#include <algorithm>

#include "sched/profile.h"
#include "sched/step_features.h"

namespace tandem {

struct Machine {
  double overhead = 2e-4, read = 50e-3, row = 6e-3, head_read = 3e-3, head_row = 3e-4, decode_token = 2e-7, pair = 1e-7;
  double layer_read = 2.2e-3, layer_row = 3e-4, backward_pair = 2e-7, loss_row = 6e-4, speed = 1;

  double Seconds(const StepFeatures& f, double labelled_rows, double backward_units) const {
    double seconds = overhead;
    if (f.rows > 0) seconds += std::max(read, row * f.rows);
    if (f.samples > 0) seconds += std::max(head_read, head_row * f.samples);
    if (labelled_rows > 0) seconds += 2 * std::max(head_read, loss_row / 2 * labelled_rows);
    if (backward_units > 0) {
      seconds += backward_units * std::max(layer_read, layer_row * f.backward_rows / backward_units);
    }
    seconds += decode_token * f.decode_context + pair * f.prefill_pairs + backward_pair * f.backward_pairs;
    return seconds / speed;
  }

  absl::Duration Run(const Probe& probe) const {
    StepFeatures f;
    for (int i = 0; i < probe.spans; ++i) {
      f.AddSpan(probe.training         ? SpanKind::kTrainForward
                : probe.span_rows == 1 ? SpanKind::kDecode
                                       : SpanKind::kPrefill,
                probe.span_rows, probe.context);
    }
    f.samples = probe.samples;
    if (probe.backward_rows > 0) f.AddBackward(probe.backward_rows, 0);
    return absl::Seconds(Seconds(f, probe.training ? probe.spans * probe.span_rows : 0, probe.backward_rows > 0));
  }

  CostModel Profiled(absl::Duration limit = absl::Minutes(5)) const {
    return CostModel(MeasureProfile({.limit = limit}, [this](const Probe& probe) { return Run(probe); }));
  }
};

}  // namespace tandem
