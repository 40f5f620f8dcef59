// The scheduler as the step loop sees it: asks both sources what could run, has the policy decide, has the sources
// write what was granted into one batch, and learns from how long that took.
#pragma once

#include <deque>

#include "absl/time/time.h"
#include "kv/block_pool.h"
#include "sched/coserving.h"
#include "sched/cost_model.h"
#include "tandem/work_source.h"

namespace tandem {

struct SchedulerParts {
  WorkSource* inference = nullptr;  // all borrowed; they must outlive the scheduler
  WorkSource* training = nullptr;
  const BlockPool* pool = nullptr;  // the one that both sources reserve from
  int num_layers = 0;
  SchedulerOptions options;  // valid (ValidateSchedulerOptions)
  Policy policy = &PlanCoserving;
  CostModel* cost = nullptr;  // null: no times are predicted
};

// One iteration as it was planned and as it came.
struct IterationReport {
  int decode_rows = 0, prefill_rows = 0, training_rows = 0;
  int64_t backward_rows = 0;           // rows times layers
  int backward_skipped = 0;            // units given back
  absl::Duration planning;             // what deciding took, the sources' offers included; by Observe's caller
  absl::Duration predicted, measured;  // of what ran; predicted is 0 without a cost model
  absl::Duration budget = absl::InfiniteDuration();  // that latency targets left
  bool forced_unit = false;
  bool outlier = false;  // took more than CostModel::kOutlier times its prediction
};

// Step thread only.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerParts& parts);

  // The batch of the iteration that begins at `now`, empty where nothing can run. Its spans and units borrow from the
  // sources until it is launched.
  Batch Next(absl::Time now);

  // What the batch will take of which the first num_units backward units run; 0 without a cost model.
  absl::Duration Predict(const Batch& batch, int num_units) const;

  // What came of the oldest Next that was not empty and is not observed: the cost model learns from it.
  const IterationReport& Observe(const Batch& batch, const StepResult& result, absl::Duration planning,
                                 absl::Duration measured);

  // What the sources took to commit that iteration, where the device waited for it.
  void Committed(absl::Duration took);

  const IterationReport& last() const { return report_; }
  const CostModel* cost() const { return parts_.cost; }

 private:
  const SchedulerParts parts_;
  int64_t iteration_ = 0;
  int starved_iterations_ = 0;
  absl::Duration outside_;               // mean of planning and committing
  std::deque<IterationReport> planned_;  // and not observed
  IterationReport report_;
};

}  // namespace tandem
