// The one place where all parts meet.
#include "engine/step.h"

namespace tandem {

bool Step(StepParts& parts) {
  const absl::Time now = parts.clock();
  const Batch batch = parts.scheduler.Next(now);  // inference spans + training spans + backward units
  if (batch.empty()) return false;
  const absl::Time begin = parts.clock();
  const StepResult result = parts.model.Run(batch, parts.yield);  // one pass over the base weights, then backward units
  const absl::Time end = parts.clock();
  parts.scheduler.Observe(batch, result, begin - now, end - begin);  // the cost model learns
  parts.inference.Commit(batch, result, end);                        // tokens -> streams
  parts.training.Commit(batch, result, end);  // losses, gradients, optimizer step, published adapters
  parts.scheduler.Committed(parts.clock() - end);
  return true;
}

}  // namespace tandem
