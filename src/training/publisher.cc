#include "training/publisher.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "adapter/peft_files.h"
#include "base/log.h"
#include "base/status.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxPending = 2;

// The first number that neither a directory of `parent` nor the served generation has. Directories may be older than
// this process, and a loaded generation has its directory elsewhere.
int NextNumber(const fs::path& parent, int served_generation) {
  int last = served_generation;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    int number = 0;
    if (absl::SimpleAtoi(entry->path().filename().string(), &number)) last = std::max(last, number);
  }
  return last + 1;
}

}  // namespace

struct Publisher::State {
  State(const Parts& parts, JobId job, std::string name) : parts(parts), job(job), adapter_name(std::move(name)) {}

  absl::Status failure() const {
    absl::MutexLock lock(&mutex);
    return first_failure;
  }

  // Writes and serves one generation, unless an earlier one failed.
  void Publish(const AdapterWeights& weights) {
    if (!failure().ok()) return;
    const absl::StatusOr<AdapterInfo> info = WriteAndServe(weights);
    if (info.ok()) {
      LOG_INFO("published adapter {} generation {} ({})", info->name, info->generation, info->path);
      parts.registry->ReportPublished(job, info->generation);
      return;
    }
    absl::MutexLock lock(&mutex);
    first_failure = Annotate(info.status(), absl::StrCat("publishing adapter '", adapter_name, "'"));
  }

  absl::StatusOr<AdapterInfo> WriteAndServe(const AdapterWeights& weights) {
    const fs::path parent = fs::path(parts.adapters_dir) / adapter_name;
    std::error_code error;
    fs::create_directories(parent, error);
    if (error) return absl::UnavailableError(absl::StrCat("cannot create ", parent.string(), ": ", error.message()));
    const absl::StatusOr<AdapterLease> served = parts.store->Acquire(adapter_name);
    const int number = NextNumber(parent, served.ok() ? (*served)->info().generation : 0);
    const std::string directory = (parent / absl::StrCat(number)).string();
    RETURN_IF_ERROR(WritePeftAdapter(directory, weights, parts.base_model));
    return parts.store->Publish(adapter_name, weights, directory, JobRegistry::IdOf(job));
  }

  const Parts parts;
  const JobId job;
  const std::string adapter_name;
  mutable absl::Mutex mutex;
  absl::Status first_failure ABSL_GUARDED_BY(mutex);
  int pending ABSL_GUARDED_BY(mutex) = 0;  // submitted and not yet through
};

Publisher::Publisher(const Parts& parts, JobId job, std::string adapter_name)
    : state_(std::make_shared<State>(parts, job, std::move(adapter_name))) {}

void Publisher::Publish(AdapterWeights weights, int step) {
  bool lags = false;
  {
    absl::MutexLock lock(&state_->mutex);
    lags = state_->pending >= kMaxPending;
    state_->pending += !lags;
  }
  if (lags) {
    state_->parts.registry->ReportMessage(
        state_->job,
        absl::StrCat("publication at step ", step, " left out: ", kMaxPending, " are still being written"));
    return;
  }
  state_->parts.io->Submit([state = state_, copy = std::make_shared<AdapterWeights>(std::move(weights))] {
    if (!state->parts.registry->cancel_requested(state->job)) state->Publish(*copy);
    absl::MutexLock lock(&state->mutex);
    --state->pending;
  });
}

void Publisher::PublishAndFinish(AdapterWeights weights) {
  state_->parts.io->Submit([state = state_, copy = std::make_shared<AdapterWeights>(std::move(weights))] {
    const bool cancelled = state->parts.registry->cancel_requested(state->job);
    if (!cancelled) state->Publish(*copy);
    const absl::Status failure = state->failure();
    const JobState end = !failure.ok() ? JobState::kFailed : cancelled ? JobState::kCancelled : JobState::kSucceeded;
    state->parts.registry->Finish(state->job, end, failure);
  });
}

void Publisher::Finish(JobState end, absl::Status error) {
  state_->parts.io->Submit(
      [state = state_, end, error = std::move(error)] { state->parts.registry->Finish(state->job, end, error); });
}

absl::Status Publisher::failure() const {
  return state_->failure();
}

}  // namespace tandem
