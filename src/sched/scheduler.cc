#include "sched/scheduler.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tandem {
namespace {

constexpr double kOutsideDecay = 1.0 / 50, kErrorDecay = 1.0 / 200, kLaneDecay = 1.0 / 50;
constexpr double kLeastLaneSpeed = 0.1, kMostLaneSpeed = 4;
constexpr absl::Duration kMostOutside = absl::Seconds(1);  // a clock that jumped says more

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
                             .now = now,
                             .cost = parts_.cost,
                             .beside = parts_.beside,
                             .lane_speed = lane_speed_,
                             .iteration = iteration_++,
                             .starved_iterations = starved_iterations_,
                             .outside = outside_};
  const Plan plan = parts_.policy(parts_.options, input);
  const bool offered = !input.training.spans.empty() || !input.training.backward.empty();
  const bool trains = !plan.training.spans.empty() || !plan.training.backward.empty();
  starved_iterations_ = offered && !trains ? starved_iterations_ + 1 : 0;
  Batch batch;
  // What training gives back is for inference to take.
  Grants training = plan.training;
  if (!training.preempted.empty()) {
    parts_.training->Emit({.preempted = training.preempted}, batch);
    training.preempted.clear();
  }
  parts_.inference->Emit(plan.inference, batch);
  parts_.training->Emit(training, batch);
  batch.backward_beside = plan.backward_beside;
  CHECK_EQ(batch.num_rows(), NumRows(plan.inference) + NumRows(plan.training)) << "a source emitted other than granted";
  CHECK_EQ(batch.labels.size(), batch.token_ids.size());
  if (!batch.empty()) planned_.push_back({.budget = plan.budget, .forced_unit = plan.forced_unit});
  return batch;
}

absl::Duration Scheduler::Predict(const Batch& batch, int num_units) const {
  if (parts_.cost == nullptr) return absl::ZeroDuration();
  return parts_.cost->Predict(FeaturesOf(batch, num_units));
}

void Scheduler::Committed(absl::Duration took) {
  const absl::Duration outside = std::clamp(report_.planning + took, absl::ZeroDuration(), kMostOutside);
  outside_ += kOutsideDecay * (outside - outside_);
}

const IterationReport& Scheduler::Observe(const Batch& batch, const StepResult& result, absl::Duration planning,
                                          absl::Duration measured) {
  CHECK(!planned_.empty());
  report_ = planned_.front();
  planned_.pop_front();
  const int units = static_cast<int>(batch.backward.size()) - result.backward_skipped;
  const StepFeatures all = FeaturesOf(batch, units);
  for (const Span& span : batch.spans) {
    int& rows = span.kind == SpanKind::kDecode    ? report_.decode_rows
                : span.kind == SpanKind::kPrefill ? report_.prefill_rows
                                                  : report_.training_rows;
    rows += span.num_rows;
  }
  report_.backward_rows = static_cast<int64_t>(all.backward_rows);
  report_.backward_skipped = batch.backward_beside ? 0 : result.backward_skipped;
  report_.planning = planning;
  report_.measured = measured;
  if (!result.status.ok()) return report_;
  if (result.time == StepResult::Time::kOfAll) {
    if (parts_.cost != nullptr && !all.empty()) Learn(*parts_.cost, all);
  } else if (result.time == StepResult::Time::kOfForwardBeside && parts_.beside != nullptr) {
    Learn(*parts_.beside, FeaturesOf(batch, 0));
    LearnLaneSpeed(BackwardFeatures(batch, units));
  }
  return report_;
}

void Scheduler::Learn(CostModel& cost, const StepFeatures& features) {
  report_.predicted = cost.Predict(features);
  report_.outlier = cost.Observe(features, report_.measured) == CostModel::Observed::kOutlier;
  const double error = std::abs(absl::FDivDuration(report_.measured, report_.predicted) - 1);
  mean_error_ += kErrorDecay * (std::min(error, 1.0) - mean_error_);
}

void Scheduler::LearnLaneSpeed(const StepFeatures& backward) {
  const double done = backward.empty() ? 0 : parts_.cost->Seconds(backward);
  const double took = absl::ToDoubleSeconds(report_.measured + outside_);
  // Over more than an iteration: a unit may take longer than one.
  lane_speed_ += kLaneDecay * (std::min(done / took, kMostLaneSpeed) - lane_speed_);
  lane_speed_ = std::max(lane_speed_, kLeastLaneSpeed);
}

}  // namespace tandem
