// A machine that is a formula, for tests of what predicts and plans: arithmetic and weight reading as a roofline.
#pragma once

#include <algorithm>

#include "sched/profile.h"
#include "sched/step_features.h"

namespace tandem {

struct Machine {
  double overhead = 2e-4, read = 50e-3, row = 6e-3, head_read = 3e-3, head_row = 3e-4, decode_token = 2e-7, pair = 1e-7;
  double layer_read = 2.2e-3, layer_row = 3e-4, backward_pair = 2e-7, loss_row = 6e-4, speed = 1;

  // 1.1 G parameters, of which the machine is about the nominal one of a guess.
  static ModelShape shape() {
    return {.num_layers = 22, .layer_parameters = 44e6, .head_parameters = 65e6, .query_width = 2048};
  }

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

  double Seconds(const Probe& probe) const {
    double labelled = 0;
    for (const Probe::Rows& span : probe.spans) labelled += span.kind == SpanKind::kTrainForward ? span.num_rows : 0;
    return Seconds(FeaturesOf(probe), labelled, static_cast<double>(probe.units.size()));
  }

  // What the first `count` probes of a profile teach.
  CostModel Profiled(size_t count = 1000) const {
    CostModel model(shape());
    for (const Probe& probe : ProfileProbes({.max_backward_rows = 256})) {
      if (count-- == 0) break;
      model.Observe(FeaturesOf(probe), absl::Seconds(Seconds(probe)));
    }
    return model;
  }
};

}  // namespace tandem
