#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tandem {
namespace {

// A product like 0.1 * 30 is a hair above 3; a whole step more for that would be wrong.
constexpr double kRoundingSlack = 1e-9;

int TotalSteps(const Hyperparameters& h, int64_t steps_per_epoch) {
  if (h.max_steps > 0) return h.max_steps;
  const double steps = std::ceil(h.epochs * static_cast<double>(steps_per_epoch) - kRoundingSlack);
  return static_cast<int>(std::clamp(steps, 1.0, 2147483647.0));
}

}  // namespace

Schedule::Schedule(const Hyperparameters& h, int64_t num_samples)
    : h_(h),
      num_samples_(num_samples),
      samples_per_step_(static_cast<int64_t>(h.micro_batch) * h.gradient_accumulation),
      steps_per_epoch_((num_samples + samples_per_step_ - 1) / samples_per_step_),
      total_steps_(TotalSteps(h, steps_per_epoch_)) {}

Schedule::Step Schedule::At(int t) const {
  const int64_t first = (t % steps_per_epoch_) * samples_per_step_;
  return {.epoch = static_cast<int>(t / steps_per_epoch_),
          .first = static_cast<int>(first),
          .num_samples = static_cast<int>(std::min(samples_per_step_, num_samples_ - first))};
}

double Schedule::LearningRate(int t) const {
  if (t < h_.warmup_steps) return h_.learning_rate * (t + 1) / h_.warmup_steps;
  const double progress = static_cast<double>(t - h_.warmup_steps) / std::max(1, total_steps_ - h_.warmup_steps);
  switch (h_.schedule) {
    case LrSchedule::kConstant:
      return h_.learning_rate;
    case LrSchedule::kLinear:
      return h_.learning_rate * (1 - progress);
    case LrSchedule::kCosine:
      return h_.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  }
  return h_.learning_rate;
}

}  // namespace tandem
