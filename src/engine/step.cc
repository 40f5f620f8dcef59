// The one place where all parts meet.
#include "engine/step.h"

namespace tandem {

bool Step(StepParts& parts, absl::Time now) {
  const Batch batch = parts.scheduler.Next(now);  // inference spans + training spans + backward units
  if (batch.empty()) return false;
  const StepResult result = parts.model.Run(batch);  // one pass over the base weights, then the backward units
  parts.inference.Commit(batch, result, now);        // tokens -> streams
  parts.training.Commit(batch, result, now);         // losses, gradients, optimizer step, published adapters
  return true;
}

}  // namespace tandem
