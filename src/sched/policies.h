// The policies by name. `coserving` is the one that Tandem is for; the others are what its claims are measured against,
// in the same binary and with the same admission of requests.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sched/policy.h"

namespace tandem {

// coserving, inference_only, training_only, temporal, dynamic_temporal, static_split.
std::vector<std::string> PolicyNames();
absl::StatusOr<Policy> PolicyNamed(const std::string& name);  // INVALID_ARGUMENT with all names

Plan PlanInferenceOnly(const SchedulerOptions& options, const SchedulerInput& input);
Plan PlanTrainingOnly(const SchedulerOptions& options, const SchedulerInput& input);

// One iteration of nothing but training after every temporal_every of nothing but inference; where one of the two has
// nothing to run the other does.
Plan PlanTemporal(const SchedulerOptions& options, const SchedulerInput& input);

// The same with temporal_every iterations for each four requests that run or wait: the more of them there are, the
// rarer training becomes.
Plan PlanDynamicTemporal(const SchedulerOptions& options, const SchedulerInput& input);

// Every iteration is split at a fixed row: training has static_training_share of max_batch_rows, inference the rest,
// and neither may use what the other leaves.
Plan PlanStaticSplit(const SchedulerOptions& options, const SchedulerInput& input);

}  // namespace tandem
