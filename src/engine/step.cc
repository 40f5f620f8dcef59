#include "engine/step.h"

#include <algorithm>
#include <utility>

namespace tandem {

Stepper::Outcome Stepper::Step() {
  const bool waits = !parts_.inference.can_run_ahead() || !parts_.training.can_run_ahead();
  const bool committed = waits && Commit();
  std::optional<Iteration> next = Plan();  // inference spans + training spans + backward units
  if (!next.has_value() && !in_flight_.has_value()) return committed ? Outcome::kCommitted : Outcome::kIdle;
  if (!next.has_value()) return Commit() || committed ? Outcome::kCommitted : Outcome::kLaunched;
  Launch(*next);  // one pass over the base weights for all spans
  std::optional<Iteration> last = std::exchange(in_flight_, std::nullopt);
  if (last.has_value()) {
    Collect(*last);                                                   // the cost model learns
    parts_.inference.Commit(last->batch, last->result, last->ended);  // tokens -> streams
  }
  LaunchBackward(*next);  // then the backward units
  // Losses, gradients, optimizer step, published adapters.
  if (last.has_value()) parts_.training.Commit(last->batch, last->result, last->ended);
  in_flight_ = std::move(next);
  if (!parts_.model.runs_ahead()) return Commit(), Outcome::kCommitted;
  return (last.has_value() && !last->batch.empty()) || committed ? Outcome::kCommitted : Outcome::kLaunched;
}

std::optional<Stepper::Iteration> Stepper::Plan() {
  const absl::Time now = parts_.clock();
  Iteration next{.batch = parts_.scheduler.Next(NextStart(now))};
  if (next.batch.empty() && (in_flight_.has_value() || !owes_iteration_)) return std::nullopt;
  next.launched = parts_.clock();
  next.planning = next.launched - now;
  return next;
}

void Stepper::Launch(Iteration& next) {
  next.step = parts_.model.Launch(next.batch);
  parts_.inference.Launched(next.batch, 0);
}

void Stepper::LaunchBackward(Iteration& next) {
  parts_.model.LaunchBackward(next.batch, parts_.yield, next.step);
  parts_.training.Launched(next.batch, next.step.result.backward_skipped);
}

// An iteration takes from the end of the one before it, if that was in flight when it was launched.
void Stepper::Collect(Iteration& last) {
  last.result = parts_.model.Collect(last.batch, std::move(last.step));
  last.ended = parts_.clock();
  const absl::Duration took = last.ended - std::max(last.launched, last_end_);
  last_end_ = last.ended;
  if (!last.batch.empty()) parts_.scheduler.Observe(last.batch, last.result, last.planning, took);
  owes_iteration_ = parts_.model.runs_ahead() && !last.batch.empty();
}

bool Stepper::Commit() {
  if (!in_flight_.has_value()) return false;
  Iteration last = *std::exchange(in_flight_, std::nullopt);
  Collect(last);
  parts_.inference.Commit(last.batch, last.result, last.ended);
  parts_.training.Commit(last.batch, last.result, last.ended);
  parts_.scheduler.Committed(parts_.clock() - last.ended);
  return !last.batch.empty();
}

absl::Time Stepper::NextStart(absl::Time now) const {
  if (!in_flight_.has_value()) return now;
  const int units = static_cast<int>(in_flight_->batch.backward.size()) - in_flight_->step.result.backward_skipped;
  const absl::Duration takes = parts_.scheduler.Predict(in_flight_->batch, units);
  return std::max(now, std::max(in_flight_->launched, last_end_) + takes);
}

Stepper::~Stepper() {
  if (in_flight_.has_value()) parts_.model.Collect(in_flight_->batch, std::move(in_flight_->step));
}

}  // namespace tandem
