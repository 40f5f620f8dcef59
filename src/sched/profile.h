// The short profile at load: which iterations are timed, in which order, and what is made of their times. What runs
// them is given, so the procedure is tested on a machine that is a formula.
#pragma once

#include <functional>

#include "absl/time/time.h"
#include "sched/cost_model.h"

namespace tandem {

// One iteration to time: `spans` sequences of `span_rows` rows each behind `context` tokens; or one backward unit.
struct Probe {
  int spans = 0, span_rows = 0, context = 0;
  int samples = 0;        // of the first spans' last rows
  bool training = false;  // its one span is saved, and all its rows are learned
  int backward_rows = 0;  // of a sequence whose forward ran before; spans is 0
};

struct ProfileOptions {
  absl::Duration limit = absl::Milliseconds(2500);  // no probe begins that would probably end later
  int max_rows = 512;                               // of a batch
  int max_context = 1024;                           // tokens of the longest sequence a probe may have
  int max_backward_rows = 128;
};

// Times probes through `run`, each a few times. What the limit leaves unmeasured follows the lines of what was
// measured.
CostProfile MeasureProfile(const ProfileOptions& options, const std::function<absl::Duration(const Probe&)>& run);

}  // namespace tandem
