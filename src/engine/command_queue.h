// How other threads talk to the step thread: closures that run on it, in order, between two steps.
#pragma once

#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tandem {

// Thread-safe. Commands that are still queued when the queue is closed, or posted later, are dropped unrun: Post says
// so.
class CommandQueue {
 public:
  using Command = std::function<void()>;

  // False where the queue is closed: the command will not run.
  bool Post(Command command);
  // Runs what is queued, on the calling thread.
  void RunAll();
  // Returns when something is queued, the queue is closed or `timeout` is over.
  void Wait(absl::Duration timeout);
  void Close();
  bool closed() const;

 private:
  mutable absl::Mutex mutex_;
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
