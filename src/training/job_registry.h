// The book of all fine-tuning jobs: where each stands, its numbered events, who watches. The step thread and the I/O
// thread write it; RPC threads read it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "tandem/batch.h"
#include "tandem/job.h"

namespace tandem {

// What one optimizer step brought.
struct StepReport {
  int step = 0;      // from 1
  double epoch = 0;  // done after it
  double loss = 0;   // mean over its learned tokens
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  int64_t tokens = 0;        // rows of its samples
};

// Thread-safe. Sinks are called with the job's lock held, on the thread that brings the news or in Watch: a sink must
// not call back, nor wait for a thread that does. It is shared because a vanished watcher and the writers race for it.
class JobRegistry {
 public:
  using Clock = std::function<absl::Time()>;
  static constexpr size_t kMaxEvents = 100'000;  // kept of each job: the last ones

  explicit JobRegistry(Clock clock, size_t max_events = kMaxEvents);
  ~JobRegistry();

  static std::string IdOf(JobId number);  // 3 -> "job-3"

  // --- for front ends
  // -------------------------------------------------------------------------------------------------
  struct Created {
    JobId number = 0;
    JobInfo info;
    bool is_new = false;  // false: the key's first job, `info` as it stands
  };
  // Enters a job as kQueued; fills id ("job-1", "job-2", ...), state and created. "" is no key.
  Created Create(JobInfo info, const std::string& idempotency_key);
  // The job that this key created; nothing for "".
  std::optional<JobInfo> FindByKey(const std::string& idempotency_key) const;

  absl::StatusOr<JobInfo> Get(const std::string& id) const;  // NOT_FOUND with the nearest ids
  std::vector<JobInfo> List() const;                         // oldest first
  // "job-3" -> 3. NOT_FOUND.
  absl::StatusOr<JobId> NumberOf(const std::string& id) const;

  // Replays the kept events numbered >= first_event on the calling thread, then follows on the writers'. A job that has
  // ended is replayed and ended before this returns. NOT_FOUND.
  absl::Status Watch(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink);
  // After this returns the sink is not called again. Unknown ids and sinks are ignored: they may just have ended.
  void StopWatching(const std::string& id, const JobSink* sink);

  // kQueued or kRunning -> kCancelling; again is harmless. FAILED_PRECONDITION once it has ended. The caller then tells
  // the step thread (TrainingSource::Cancel), which ends the job.
  absl::StatusOr<JobInfo> RequestCancel(const std::string& id);

  // --- for those who run jobs
  // -----------------------------------------------------------------------------------------
  bool cancel_requested(JobId job) const;
  void MarkRunning(JobId job);
  // Tokens that went through forward and backward just now.
  void AddTokens(JobId job, int64_t tokens);
  void ReportStep(JobId job, const StepReport& report);
  void ReportPublished(JobId job, int generation);
  void ReportMessage(JobId job, std::string message);
  // Once: `state` is final, `error` says why for kFailed. Ends the watchers.
  void Finish(JobId job, JobState state, absl::Status error);

 private:
  struct Job;
  Job& At(JobId number) const;  // CHECKs that it exists
  absl::StatusOr<Job*> Find(const std::string& id) const;

  const Clock clock_;
  const size_t max_events_;
  mutable absl::Mutex mutex_;
  std::vector<std::unique_ptr<Job>> jobs_ ABSL_GUARDED_BY(mutex_);  // job n at n - 1; jobs never leave
  absl::flat_hash_map<std::string, JobId> keys_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
