// A JobSink that remembers.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tandem/job.h"

namespace tandem {

// Thread-safe.
class RecordingSink : public JobSink {
 public:
  void OnEvent(const JobEvent& event) override {
    absl::MutexLock lock(&mutex_);
    events_.push_back(event);
    after_end_ |= ended_ > 0;
  }
  void OnEnd() override {
    absl::MutexLock lock(&mutex_);
    ++ended_;
  }

  std::vector<JobEvent> events() const {
    absl::MutexLock lock(&mutex_);
    return events_;
  }
  std::vector<int64_t> numbers() const {
    std::vector<int64_t> numbers;
    for (const JobEvent& event : events()) numbers.push_back(event.number);
    return numbers;
  }
  int ended() const {
    absl::MutexLock lock(&mutex_);
    return ended_;
  }
  bool called_after_end() const {
    absl::MutexLock lock(&mutex_);
    return after_end_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  bool after_end_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
