#include "sched/coserving.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "sched/admission.h"
#include "sched/slo.h"
#include "sched/training_rows.h"

namespace tandem {

Plan PlanCoserving(const SchedulerOptions& options, const SchedulerInput& input) {
  CHECK_GE(input.num_layers, 1);
  Plan plan;
  RemainingBudget left{options.max_batch_rows, input.free_blocks};
  const bool by_time = FollowsTargets(options, input);
  PlanInference(by_time ? WithPrefillInTime(options, input) : options,
                {input.inference, input.training.blocks_held, input.cost}, left, plan.inference);

  const std::vector<const Offer*> spans =
      AdmitTraining(input.training.spans, TrainingBlocks(options, input, left.blocks));
  if (by_time) {
    PlanTrainingInTime(options, input, spans, left.rows, plan);
    return plan;
  }
  const bool beside_inference = !plan.inference.spans.empty();
  const int rows = std::min(left.rows, beside_inference ? options.training_rows_beside_inference : left.rows);
  PlanTrainingRows(spans, input.training.backward, rows, input.num_layers, plan.training);
  return plan;
}

}  // namespace tandem
