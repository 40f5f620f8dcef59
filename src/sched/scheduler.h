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
  CostModel* cost = nullptr;    // null: no times are predicted
  CostModel* beside = nullptr;  // of the forward beside backward (SchedulerInput); null where there are no lanes
};

// One iteration as it was planned and as it came.
struct IterationReport {
  int decode_rows = 0, prefill_rows = 0, training_rows = 0;
  int64_t backward_rows = 0;           // rows times layers
  int backward_skipped = 0;            // units given back because a request arrived
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
  // Mean of |measured - predicted| / predicted, exponentially weighted over some 200 iterations.
  double mean_error() const { return mean_error_; }

 private:
  // The cost model learns from an iteration, and the report says what it had predicted.
  void Learn(CostModel& cost, const StepFeatures& features);
  // How far backward came beside an iteration that it ran beside all the time.
  void LearnLaneSpeed(const StepFeatures& backward);

  const SchedulerParts parts_;
  int64_t iteration_ = 0;
  int starved_iterations_ = 0;
  absl::Duration outside_;               // mean of planning and committing
  std::deque<IterationReport> planned_;  // and not observed
  double lane_speed_ = 0.5;              // see SchedulerInput
  double mean_error_ = 0.1;
  IterationReport report_;
};

}  // namespace tandem
