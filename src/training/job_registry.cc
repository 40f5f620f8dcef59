#include "training/job_registry.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/names.h"
#include "base/status.h"
#include "training/token_rate.h"

namespace tandem {
namespace {

// Replayed under the lock at a time: bounds how long a watcher of many events holds up the step thread.
constexpr int kReplayChunk = 64;

constexpr std::string_view kIdPrefix = "job-";
constexpr size_t kMaxSuggested = 100;  // ids that a slip is compared with: the youngest

struct Watcher {
  std::shared_ptr<JobSink> sink;
  bool live = false;  // has seen all events so far, and gets the next ones as they come
};

}  // namespace

struct JobRegistry::Job {
  Job(JobId number, JobInfo info) : number(number), info(std::move(info)) {}

  void Append(absl::Time now, size_t max_events, JobEventKind kind, JobEvent event = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    event.number = ++last_event;
    event.kind = kind;
    event.time = now;
    event.state = info.state;
    for (const Watcher& watcher : watchers) {
      if (watcher.live) watcher.sink->OnEvent(event);
    }
    events.push_back(std::move(event));
    if (events.size() > max_events) events.pop_front();
  }

  JobInfo Snapshot(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    JobInfo snapshot = info;
    if (!IsFinal(info.state)) snapshot.tokens_per_second = rate.PerSecond(now);
    return snapshot;
  }

  // The next chunk for a watcher that lags; true once it is live, ended or gone. `next`: the first event it lacks.
  bool Replay(const JobSink* sink, int64_t& next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto watcher =
        std::find_if(watchers.begin(), watchers.end(), [&](const Watcher& w) { return w.sink.get() == sink; });
    if (watcher == watchers.end()) return true;
    if (!events.empty()) next = std::max(next, events.front().number);
    for (int i = 0; i < kReplayChunk && next <= last_event; ++i, ++next) {
      watcher->sink->OnEvent(events[static_cast<size_t>(next - events.front().number)]);
    }
    if (next <= last_event) return false;
    watcher->live = true;
    if (IsFinal(info.state)) {
      watcher->sink->OnEnd();
      watchers.erase(watcher);
    }
    return true;
  }

  const JobId number;
  absl::Mutex mutex;
  JobInfo info ABSL_GUARDED_BY(mutex);
  bool cancel_requested ABSL_GUARDED_BY(mutex) = false;
  TokenRate rate ABSL_GUARDED_BY(mutex);
  int64_t last_event ABSL_GUARDED_BY(mutex) = 0;
  std::deque<JobEvent> events ABSL_GUARDED_BY(mutex);  // consecutive, up to last_event
  std::vector<Watcher> watchers ABSL_GUARDED_BY(mutex);
};

JobRegistry::JobRegistry(Clock clock, size_t max_events) : clock_(std::move(clock)), max_events_(max_events) {
  CHECK_GT(max_events, 0);
}

JobRegistry::~JobRegistry() = default;

std::string JobRegistry::IdOf(JobId number) {
  return absl::StrCat(std::string(kIdPrefix), number);
}

JobRegistry::Job& JobRegistry::At(JobId number) const {
  absl::MutexLock lock(&mutex_);
  CHECK(number >= 1 && number <= static_cast<JobId>(jobs_.size())) << "job " << number;
  return *jobs_[static_cast<size_t>(number - 1)];
}

absl::StatusOr<JobRegistry::Job*> JobRegistry::Find(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  JobId number = 0;
  const bool is_id = id.starts_with(kIdPrefix) && absl::SimpleAtoi(id.substr(kIdPrefix.size()), &number);
  if (is_id && number >= 1 && number <= static_cast<JobId>(jobs_.size()) && id == IdOf(number)) {
    return jobs_[static_cast<size_t>(number - 1)].get();
  }
  std::vector<std::string> known;
  for (JobId n = static_cast<JobId>(jobs_.size()); n >= 1 && known.size() < kMaxSuggested; --n)
    known.push_back(IdOf(n));
  return absl::NotFoundError(absl::StrCat("unknown job '", id, "'", SuggestNames(id, known)));
}

JobRegistry::Created JobRegistry::Create(JobInfo info, const std::string& idempotency_key) {
  absl::MutexLock lock(&mutex_);
  const auto found = idempotency_key.empty() ? keys_.end() : keys_.find(idempotency_key);
  if (found != keys_.end()) {
    Job& job = *jobs_[static_cast<size_t>(found->second - 1)];
    absl::MutexLock job_lock(&job.mutex);
    return {.number = job.number, .info = job.Snapshot(clock_()), .is_new = false};
  }
  const JobId number = static_cast<JobId>(jobs_.size()) + 1;
  info.id = IdOf(number);
  info.state = JobState::kQueued;
  info.created = clock_();
  Job& job = *jobs_.emplace_back(std::make_unique<Job>(number, std::move(info)));
  if (!idempotency_key.empty()) keys_[idempotency_key] = number;
  absl::MutexLock job_lock(&job.mutex);
  job.Append(job.info.created, max_events_, JobEventKind::kStateChanged);
  return {.number = number, .info = job.Snapshot(job.info.created), .is_new = true};
}

std::optional<JobInfo> JobRegistry::FindByKey(const std::string& idempotency_key) const {
  Job* job = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = keys_.find(idempotency_key);
    if (found == keys_.end()) return std::nullopt;
    job = jobs_[static_cast<size_t>(found->second - 1)].get();
  }
  absl::MutexLock lock(&job->mutex);
  return job->Snapshot(clock_());
}

absl::StatusOr<JobInfo> JobRegistry::Get(const std::string& id) const {
  ASSIGN_OR_RETURN(Job* const job, Find(id));
  absl::MutexLock lock(&job->mutex);
  return job->Snapshot(clock_());
}

std::vector<JobInfo> JobRegistry::List() const {
  std::vector<Job*> jobs;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& job : jobs_) jobs.push_back(job.get());
  }
  std::vector<JobInfo> infos;
  for (Job* job : jobs) {
    absl::MutexLock lock(&job->mutex);
    infos.push_back(job->Snapshot(clock_()));
  }
  return infos;
}

absl::StatusOr<JobId> JobRegistry::NumberOf(const std::string& id) const {
  ASSIGN_OR_RETURN(const Job* const job, Find(id));
  return job->number;
}

absl::Status JobRegistry::Watch(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink) {
  ASSIGN_OR_RETURN(Job* const job, Find(id));
  const JobSink* const watched = sink.get();
  int64_t next = std::max<int64_t>(first_event, 1);
  {
    absl::MutexLock lock(&job->mutex);
    job->watchers.push_back({.sink = std::move(sink)});
  }
  for (bool done = false; !done;) {
    absl::MutexLock lock(&job->mutex);
    done = job->Replay(watched, next);
  }
  return absl::OkStatus();
}

void JobRegistry::StopWatching(const std::string& id, const JobSink* sink) {
  const absl::StatusOr<Job*> job = Find(id);
  if (!job.ok()) return;
  absl::MutexLock lock(&(*job)->mutex);
  std::erase_if((*job)->watchers, [&](const Watcher& watcher) { return watcher.sink.get() == sink; });
}

absl::StatusOr<JobInfo> JobRegistry::RequestCancel(const std::string& id) {
  ASSIGN_OR_RETURN(Job* const job, Find(id));
  absl::MutexLock lock(&job->mutex);
  if (IsFinal(job->info.state)) {
    return absl::FailedPreconditionError(absl::StrCat(id, " has ended already, nothing to cancel"));
  }
  if (!job->cancel_requested) {
    job->cancel_requested = true;
    job->info.state = JobState::kCancelling;
    job->Append(clock_(), max_events_, JobEventKind::kStateChanged);
  }
  return job->Snapshot(clock_());
}

bool JobRegistry::cancel_requested(JobId number) const {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  return job.cancel_requested;
}

void JobRegistry::MarkRunning(JobId number) {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  job.info.started = clock_();
  job.rate.Start(job.info.started);
  if (job.cancel_requested) return;
  job.info.state = JobState::kRunning;
  job.Append(job.info.started, max_events_, JobEventKind::kStateChanged);
}

void JobRegistry::AddTokens(JobId number, int64_t tokens) {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  job.info.trained_tokens += tokens;
  job.rate.Add(clock_(), tokens);
}

void JobRegistry::ReportStep(JobId number, const StepReport& report) {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  job.info.step = report.step;
  job.info.epoch = report.epoch;
  job.info.loss = report.loss;
  const absl::Time now = clock_();
  JobEvent event;
  event.step = report.step;
  event.loss = report.loss;
  event.learning_rate = report.learning_rate;
  event.gradient_norm = report.gradient_norm;
  event.tokens = report.tokens;
  event.tokens_per_second = job.rate.PerSecond(now);
  job.Append(now, max_events_, JobEventKind::kStep, std::move(event));
}

void JobRegistry::ReportPublished(JobId number, int generation) {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  job.info.adapter_generation = generation;
  JobEvent event;
  event.step = job.info.step;
  event.adapter_generation = generation;
  job.Append(clock_(), max_events_, JobEventKind::kPublished, std::move(event));
}

void JobRegistry::ReportMessage(JobId number, std::string message) {
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  JobEvent event;
  event.message = std::move(message);
  job.Append(clock_(), max_events_, JobEventKind::kMessage, std::move(event));
}

void JobRegistry::Finish(JobId number, JobState state, absl::Status error) {
  CHECK(IsFinal(state));
  Job& job = At(number);
  absl::MutexLock lock(&job.mutex);
  CHECK(!IsFinal(job.info.state)) << job.info.id << " ended twice";
  job.info.state = state;
  job.info.finished = clock_();
  JobEvent event;
  event.message = std::string(error.message());
  job.info.error = std::move(error);
  job.Append(job.info.finished, max_events_, JobEventKind::kStateChanged, std::move(event));
  for (const Watcher& watcher : job.watchers) {
    if (watcher.live) watcher.sink->OnEnd();
  }
  std::erase_if(job.watchers, [](const Watcher& watcher) { return watcher.live; });
}

}  // namespace tandem
