#include "sched/scheduler.h"

#include "base/check.h"

namespace tandem {
namespace {

int NumRows(const Grants& grants) {
  int rows = 0;
  for (const SpanGrant& grant : grants.spans) rows += grant.num_rows;
  return rows;
}

}  // namespace

Scheduler::Scheduler(const SchedulerParts& parts) : parts_(parts) {
  CHECK(parts.inference != nullptr && parts.training != nullptr && parts.pool != nullptr && parts.policy != nullptr);
  CHECK_GE(parts.num_layers, 1);
  const absl::Status status = ValidateSchedulerOptions(parts.options);
  CHECK(status.ok()) << status.ToString();
}

Batch Scheduler::Next(absl::Time now) {
  const SchedulerInput input{.inference = parts_.inference->CollectOffers(now),
                             .training = parts_.training->CollectOffers(now),
                             .num_blocks = parts_.pool->num_blocks(),
                             .free_blocks = parts_.pool->free(),
                             .num_layers = parts_.num_layers,
                             .now = now};
  const Plan plan = parts_.policy(parts_.options, input);
  Batch batch;
  parts_.inference->Emit(plan.inference, batch);
  parts_.training->Emit(plan.training, batch);
  CHECK_EQ(batch.num_rows(), NumRows(plan.inference) + NumRows(plan.training)) << "a source emitted other than granted";
  CHECK_EQ(batch.labels.size(), batch.token_ids.size());
  return batch;
}

}  // namespace tandem
