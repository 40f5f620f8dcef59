// The scheduler as the step loop sees it: asks both sources what could run, has the policy decide, and has the sources
// write what was granted into one batch.
#pragma once

#include "absl/time/time.h"
#include "kv/block_pool.h"
#include "sched/coserving.h"
#include "tandem/work_source.h"

namespace tandem {

struct SchedulerParts {
  WorkSource* inference = nullptr;  // all borrowed; they must outlive the scheduler
  WorkSource* training = nullptr;
  const BlockPool* pool = nullptr;  // the one that both sources reserve from
  int num_layers = 0;
  SchedulerOptions options;  // valid (ValidateSchedulerOptions)
  Policy policy = &PlanCoserving;
};

// Step thread only.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerParts& parts);

  // The iteration's batch, empty where nothing can run. Its spans and units borrow from the sources until they Commit.
  Batch Next(absl::Time now);

 private:
  const SchedulerParts parts_;
};

}  // namespace tandem
