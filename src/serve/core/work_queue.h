// A few threads that run posted work in order. What must not wait on the step thread or on a transport's own threads
// (tokenizing, reading files, waking streams) is posted here.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

namespace tandem {

class WorkQueue {
 public:
  explicit WorkQueue(int num_threads);
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;
  ~WorkQueue();  // runs what was posted, then joins; nothing may be posted any more

  // Never blocks on the work itself. Thread-safe.
  void Post(std::function<void()> work);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tandem
