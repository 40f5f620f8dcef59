#include "sched/policies.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sched/admission.h"
#include "sched/coserving.h"
#include "sched/slo.h"
#include "sched/training_rows.h"

namespace tandem {
namespace {

constexpr std::pair<const char*, Policy> kPolicies[] = {
    {"coserving", &PlanCoserving}, {"inference_only", &PlanInferenceOnly},     {"training_only", &PlanTrainingOnly},
    {"temporal", &PlanTemporal},   {"dynamic_temporal", &PlanDynamicTemporal}, {"static_split", &PlanStaticSplit},
};

// Inference's part, under `rows`; returns the blocks that it leaves.
int AddInference(const SchedulerOptions& options, const SchedulerInput& input, int rows, Plan& plan) {
  RemainingBudget left{rows, input.free_blocks};
  plan.training.preempted =
      PlanInference(FollowsTargets(options, input) ? WithPrefillInTime(options, input) : options,
                    {.offers = input.inference, .training = input.training, .cost = input.cost}, left, plan.inference);
  return left.blocks;
}

void AddTraining(const SchedulerOptions& options, const SchedulerInput& input, int rows, int blocks, Plan& plan) {
  if (!plan.training.preempted.empty()) {
    const std::vector<SequenceId> preempted = plan.training.preempted;
    Plan rest;
    AddTraining(options, WithoutPreempted(input, preempted), rows, blocks, rest);
    plan.training = std::move(rest.training);
    plan.backward_beside = true;
    plan.training.preempted = preempted;
    return;
  }
  PlanTrainingRows(AdmitTraining(input.training.spans, TrainingBlocks(options, input, blocks)), input.training.backward,
                   rows, input.num_layers, plan.training);
  plan.backward_beside = true;
}

bool HasTraining(const SchedulerInput& input) {
  return !input.training.spans.empty() || !input.training.backward.empty();
}

Plan PlanAlternating(const SchedulerOptions& options, const SchedulerInput& input, int64_t inference_iterations) {
  const bool turn = input.iteration % (inference_iterations + 1) == inference_iterations;
  if (!turn || !HasTraining(input)) {
    Plan plan = PlanInferenceOnly(options, input);
    if (!plan.inference.spans.empty() || !HasTraining(input)) return plan;
  }
  return PlanTrainingOnly(options, input);
}

}  // namespace

std::vector<std::string> PolicyNames() {
  std::vector<std::string> names;
  for (const auto& [name, policy] : kPolicies) names.push_back(name);
  return names;
}

absl::StatusOr<Policy> PolicyNamed(const std::string& name) {
  for (const auto& [known, policy] : kPolicies) {
    if (name == known) return policy;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("policy is '", name, "', want one of ", absl::StrJoin(PolicyNames(), ", ")));
}

Plan PlanInferenceOnly(const SchedulerOptions& options, const SchedulerInput& input) {
  Plan plan;
  AddInference(options, input, options.max_batch_rows, plan);
  return plan;
}

Plan PlanTrainingOnly(const SchedulerOptions& options, const SchedulerInput& input) {
  Plan plan;
  AddTraining(options, input, options.max_batch_rows, input.free_blocks, plan);
  return plan;
}

Plan PlanTemporal(const SchedulerOptions& options, const SchedulerInput& input) {
  return PlanAlternating(options, input, options.temporal_every);
}

Plan PlanDynamicTemporal(const SchedulerOptions& options, const SchedulerInput& input) {
  const auto requests = static_cast<int64_t>(input.inference.spans.size());
  return PlanAlternating(options, input, std::max<int64_t>(1, requests * options.temporal_every / 4));
}

Plan PlanStaticSplit(const SchedulerOptions& options, const SchedulerInput& input) {
  const int training_rows = static_cast<int>(options.static_training_share * options.max_batch_rows);
  Plan plan;
  const int blocks = AddInference(options, input, options.max_batch_rows - training_rows, plan);
  AddTraining(options, input, training_rows, blocks, plan);
  return plan;
}

}  // namespace tandem
