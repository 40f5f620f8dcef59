#include "sched/coserving.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "sched/admission.h"
#include "sched/slo.h"
#include "sched/training_rows.h"

namespace tandem {
namespace {

// Training's part of the plan: what inference leaves.
void PlanTraining(const SchedulerOptions& options, const SchedulerInput& input, bool by_time,
                  const RemainingBudget& left, Plan& plan) {
  const std::vector<const Offer*> spans =
      AdmitTraining(input.training.spans, TrainingBlocks(options, input, left.blocks));
  if (by_time) return PlanTrainingInTime(options, input, spans, left.rows, plan);
  const bool beside_inference = !plan.inference.spans.empty();
  const int rows = std::min(left.rows, beside_inference ? options.training_rows_beside_inference : left.rows);
  PlanTrainingRows(spans, input.training.backward, rows, input.num_layers, plan.training);
  plan.backward_beside = true;
}

}  // namespace

Plan PlanCoserving(const SchedulerOptions& options, const SchedulerInput& input) {
  CHECK_GE(input.num_layers, 1);
  Plan plan;
  RemainingBudget left{options.max_batch_rows, input.free_blocks};
  const bool by_time = FollowsTargets(options, input);
  plan.training.preempted =
      PlanInference(by_time ? WithPrefillInTime(options, input) : options,
                    {.offers = input.inference, .training = input.training, .cost = input.cost}, left, plan.inference);
  if (plan.training.preempted.empty()) {
    PlanTraining(options, input, by_time, left, plan);
  } else {
    PlanTraining(options, WithoutPreempted(input, plan.training.preempted), by_time, left, plan);
  }
  return plan;
}

}  // namespace tandem
