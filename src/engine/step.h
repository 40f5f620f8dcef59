// One iteration of the loop.
#pragma once

#include <atomic>
#include <functional>

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
  std::function<absl::Time()> clock;
  const std::atomic<bool>* yield = nullptr;  // true while a request waits to be taken: backward gives way
};

// Runs what can run now; false where nothing can. Step thread only.
bool Step(StepParts& parts);

}  // namespace tandem
