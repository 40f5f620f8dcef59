// One iteration of the loop.
#pragma once

#include "absl/time/time.h"
#include "model/model.h"
#include "sched/scheduler.h"
#include "tandem/work_source.h"

namespace tandem {

// All borrowed.
struct StepParts {
  Scheduler& scheduler;
  Model& model;
  WorkSource& inference;
  WorkSource& training;
};

// Runs what can run at `now`; false where nothing can. Step thread only.
bool Step(StepParts& parts, absl::Time now);

}  // namespace tandem
