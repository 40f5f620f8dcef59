#include "training/training_source.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace tandem {

TrainingSource::TrainingSource(const TrainingParts& parts) : parts_(parts) {
  CHECK_GE(parts.options.max_running_jobs, 1);
}

void TrainingSource::Enqueue(JobId id, PreparedJob prepared) {
  queue_.push_back({id, std::move(prepared)});
  StartWaiting();
}

void TrainingSource::StartWaiting() {
  while (!queue_.empty() && running_jobs() < parts_.options.max_running_jobs) {
    Waiting next = std::move(queue_.front());
    queue_.pop_front();
    running_.push_back(std::make_unique<TrainingJob>(next.id, std::move(next.prepared), parts_));
  }
}

void TrainingSource::Cancel(JobId id) {
  const auto waiting = std::find_if(queue_.begin(), queue_.end(), [&](const Waiting& w) { return w.id == id; });
  if (waiting != queue_.end()) {
    queue_.erase(waiting);
    parts_.registry->Finish(id, JobState::kCancelled, absl::OkStatus());
    return;
  }
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->id() != id) continue;
    running_[i]->End(JobState::kCancelled, absl::OkStatus());
    Remove(i);
    StartWaiting();
    return;
  }
}

void TrainingSource::FailAll(const absl::Status& why) {
  for (const Waiting& waiting : queue_) parts_.registry->Finish(waiting.id, JobState::kFailed, why);
  queue_.clear();
  while (!running_.empty()) {
    running_.back()->End(JobState::kFailed, why);
    Remove(running_.size() - 1);
  }
}

void TrainingSource::Message(const std::string& text) {
  for (const auto& job : running_) parts_.registry->ReportMessage(job->id(), text);
}

Offers TrainingSource::CollectOffers(absl::Time now) const {
  Offers offers;
  for (const auto& job : running_) job->AppendOffers(offers);
  return offers;
}

void TrainingSource::Emit(const Grants& grants, Batch& batch) {
  for (const SequenceId sequence : grants.preempted) {
    const bool found =
        std::any_of(running_.begin(), running_.end(), [sequence](const auto& job) { return job->Preempt(sequence); });
    CHECK(found) << "sequence " << sequence << " is to give back what it does not hold";
    ++preemptions_;
  }
  in_step_ = !grants.spans.empty() || !grants.backward.empty();
  std::vector<const TrainingJob*> served;
  const auto emit = [&](const auto& grant) {
    for (const auto& job : running_) {
      if (!job->Emit(grant, batch)) continue;
      served.push_back(job.get());
      return;
    }
    CHECK(false) << "sequence " << grant.sequence << " was granted and not on offer";
  };
  for (const SpanGrant& grant : grants.spans) emit(grant);
  for (const BackwardGrant& grant : grants.backward) emit(grant);
  std::stable_partition(running_.begin(), running_.end(), [&](const auto& job) {
    return std::find(served.begin(), served.end(), job.get()) == served.end();
  });
}

void TrainingSource::Launched(const Batch& batch, int backward_skipped) {
  in_step_ = false;
  for (const auto& job : running_) job->Launched(batch, backward_skipped);
}

void TrainingSource::Commit(const Batch& batch, const StepResult& result, absl::Time now) {
  if (in_step_) Launched(batch, result.backward_skipped);
  for (size_t i = 0; i < running_.size();) {
    TrainingJob& job = *running_[i];
    const absl::StatusOr<TrainingJob::Progress> progress = job.Commit(batch, result);
    if (progress.ok() && *progress == TrainingJob::Progress::kRunning) {
      ++i;
      continue;
    }
    if (!progress.ok()) {
      LOG_WARN("{} failed: {}", JobRegistry::IdOf(job.id()), std::string(progress.status().message()));
      job.End(JobState::kFailed, progress.status());
    }
    Remove(i);
  }
  StartWaiting();
}

void TrainingSource::Remove(size_t index) {
  tokens_of_ended_ += running_[index]->trained_tokens();
  running_.erase(running_.begin() + static_cast<int64_t>(index));
}

int64_t TrainingSource::trained_tokens() const {
  int64_t tokens = tokens_of_ended_;
  for (const auto& job : running_) tokens += job->trained_tokens();
  return tokens;
}

}  // namespace tandem
