// Fine-tuning as a source of work for the step loop: runs up to max_running_jobs jobs, others wait in order.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tandem/work_source.h"
#include "training/job.h"

namespace tandem {

// Step thread only; nothing but CollectOffers may be called between an Emit and its batch's Launched. A job that ends
// while a batch with its work is in flight goes at once; what comes of that is passed over.
class TrainingSource : public WorkSource {
 public:
  explicit TrainingSource(const TrainingParts& parts);

  // Starts the job or puts it last in the queue. `id` is the registry's.
  void Enqueue(JobId id, PreparedJob prepared);
  // Ends the job as kCancelled and frees what it holds. Unknown ids are ignored: it may just have ended.
  void Cancel(JobId id);
  // Ends all jobs, running and waiting, as kFailed: the daemon stops.
  void FailAll(const absl::Status& why);

  Offers CollectOffers(absl::Time now) const override;
  void Emit(const Grants& grants, Batch& batch) override;
  void Launched(const Batch& batch, int backward_skipped) override;
  void Commit(const Batch& batch, const StepResult& result, absl::Time now) override;

  // Tells the watchers of every running job.
  void Message(const std::string& text);

  int running_jobs() const { return static_cast<int>(running_.size()); }
  int queued_jobs() const { return static_cast<int>(queue_.size()); }
  int64_t preemptions() const { return preemptions_; }  // sequences that gave their blocks back
  // Rows of all jobs that went through forward and backward.
  int64_t trained_tokens() const;

 private:
  struct Waiting {
    JobId id = 0;
    PreparedJob prepared;
  };

  void StartWaiting();
  void Remove(size_t index);

  const TrainingParts parts_;
  std::deque<Waiting> queue_;
  std::vector<std::unique_ptr<TrainingJob>> running_;  // least recently served first
  bool in_step_ = false;                               // a batch was emitted and not launched
  int64_t preemptions_ = 0;
  int64_t tokens_of_ended_ = 0;  // jobs that are no longer in running_
};

}  // namespace tandem
