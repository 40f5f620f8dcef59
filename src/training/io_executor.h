// Where work that must not hold up the step thread runs: writes to disk, mostly.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tandem {

class IoExecutor {
 public:
  virtual ~IoExecutor() = default;
  // Runs `task` later, after all tasks submitted before it. Thread-safe; does not block.
  virtual void Submit(std::function<void()> task) = 0;
};

// One thread. Its destruction first runs what has been submitted.
class IoThread : public IoExecutor {
 public:
  IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  ~IoThread() override;

  void Submit(std::function<void()> task) override;

 private:
  void Loop();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tandem
