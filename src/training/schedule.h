// How many optimizer steps a job takes, which samples each of them holds, and its learning rate.
#pragma once

#include <cstdint>

#include "tandem/job.h"

namespace tandem {

// Every epoch is cut into steps of micro_batch * gradient_accumulation samples; its last step takes what is left.
// Epochs may be a fraction: the steps of 0.5 epochs are half of an epoch's, rounded up.
class Schedule {
 public:
  // num_samples >= 1; `h` is valid (validate.h).
  Schedule(const Hyperparameters& h, int64_t num_samples);

  int total_steps() const { return total_steps_; }

  // The place of step t (from 0) in the sequence of samples.
  struct Step {
    int epoch = 0;  // from 0
    int first = 0;  // position in the epoch's order
    int num_samples = 0;
  };
  Step At(int t) const;

  // Epochs done after `steps` steps.
  double EpochsAfter(int steps) const { return static_cast<double>(steps) / steps_per_epoch_; }

  // Of step t: rises linearly to learning_rate over warmup_steps (its first is learning_rate / warmup_steps, not 0),
  // then stays, or falls to 0 at total_steps along a line or half a cosine.
  double LearningRate(int t) const;

 private:
  const Hyperparameters h_;
  const int64_t num_samples_;
  const int64_t samples_per_step_;
  const int64_t steps_per_epoch_;
  const int total_steps_;
};

}  // namespace tandem
