// Backward on cores of its own: a thread that runs units on a lane of the backend, while the step thread runs forward
// on the rest. Decode waits for memory and backward for arithmetic, so the two cost each other little; and a model
// whose operations are too small for a second thread still uses a second core.
//
// The lane does not keep step with the iterations: a unit may span many of them. A unit that was begun is always
// finished. Its tape remembers it, so that what was done between two iterations is done when it is given again.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tandem/backend.h"
#include "tandem/batch.h"

namespace tandem {

// All calls come from one thread. What units borrow must stay until they are done or forgotten.
class BackwardLane {
 public:
  using Runner = std::function<void(Backend& lane, const BackwardUnit& unit)>;  // called on the lane's thread

  // `forward` gets half of its cores while the lane works, all of them otherwise.
  BackwardLane(Backend& forward, std::unique_ptr<Backend> lane, Runner run);
  BackwardLane(const BackwardLane&) = delete;
  BackwardLane& operator=(const BackwardLane&) = delete;
  ~BackwardLane();

  // Has these run, in their order; forgets those given before that were not begun.
  void Give(std::span<const BackwardUnit> units);

  struct Progress {
    int done = 0;          // of the units that were given last, from the first on
    bool ran_dry = false;  // it had nothing to do for a while since then
  };
  Progress Report() const;

  // Forgets what was not begun and halts what was, until the next call of another function.
  void Pause();
  // Whether nothing is under way.
  bool settled() const;
  // Forgets what was not begun, waits for what was; false where `yield` became true meanwhile.
  bool Settle(const std::atomic<bool>* yield = nullptr);

 private:
  void Loop();
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether a unit is left to begin; passes over those that ran before.
  bool FindNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool has_news() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || next_ < given_.size(); }

  Backend& forward_;
  const std::unique_ptr<Backend> lane_;
  const Runner run_;

  mutable absl::Mutex mutex_;
  std::vector<BackwardUnit> given_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;       // of given_: the first that was not begun
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // a unit was begun and is not done
  bool ran_dry_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tandem
