// The loop's iterations: the one place where all parts meet.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "absl/time/time.h"
#include "model/model.h"
#include "sched/scheduler.h"
#include "tandem/work_source.h"

namespace tandem {

// All borrowed.
struct StepParts {
  Scheduler& scheduler;
  Model& model;
  WorkSource& inference;
  WorkSource& training;
  std::function<absl::Time()> clock;
  const std::atomic<bool>* yield = nullptr;  // true while a request waits to be taken: backward gives way
};

// Where the device works on its own, one iteration is in flight at a time: the next one is planned and launched before
// its results are taken, so that the device goes on from one to the next. Everywhere else, and where a source says that
// what comes next depends on those results, they are taken first. Step thread only.
class Stepper {
 public:
  explicit Stepper(const StepParts& parts) : parts_(parts) {}
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  ~Stepper();  // waits for what is in flight and passes it over

  enum class Outcome {
    kIdle,       // nothing can run, nothing is in flight
    kLaunched,   // something is in flight, no batch has been committed
    kCommitted,  // one has
  };
  // Launches what can run now and commits what was in flight.
  Outcome Step();

 private:
  struct Iteration {
    Batch batch;
    Model::InFlight step;
    absl::Duration planning;
    absl::Time launched, ended;
    StepResult result;
  };

  // Nothing where nothing can run. What a Commit has given the device (an optimizer step) belongs to an iteration too:
  // where nothing else comes, to one with an empty batch.
  std::optional<Iteration> Plan();
  void Launch(Iteration& next);
  void LaunchBackward(Iteration& next);
  // Waits until it is over; the cost model learns.
  void Collect(Iteration& last);
  bool Commit();  // what is in flight; false where no batch is
  // When the device can begin with the next iteration, as far as anybody can tell.
  absl::Time NextStart(absl::Time now) const;

  const StepParts parts_;
  std::optional<Iteration> in_flight_;
  absl::Time last_end_ = absl::InfinitePast();
  bool owes_iteration_ = false;
};

}  // namespace tandem
