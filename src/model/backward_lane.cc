#include "model/backward_lane.h"

#include <utility>

#include "absl/time/time.h"
#include "model/tape.h"

namespace tandem {
namespace {

constexpr absl::Duration kYieldPoll = absl::Microseconds(500);

}  // namespace

BackwardLane::BackwardLane(Backend& forward, std::unique_ptr<Backend> lane, Runner run)
    : forward_(forward), lane_(std::move(lane)), run_(std::move(run)), thread_([this] { Loop(); }) {}

BackwardLane::~BackwardLane() {
  {
    const absl::MutexLock lock(&mutex_);
    Forget();
    stop_ = true;
    lane_->SetShare(Backend::Share::kAll);
  }
  thread_.join();
}

void BackwardLane::Forget() {
  given_.clear();
  next_ = 0;
}

bool BackwardLane::FindNext() {
  while (next_ < given_.size() && given_[next_].tape->RanBackward(given_[next_])) ++next_;
  return next_ < given_.size();
}

void BackwardLane::Give(std::span<const BackwardUnit> units) {
  const absl::MutexLock lock(&mutex_);
  given_.assign(units.begin(), units.end());
  next_ = 0;
  ran_dry_ = !running_ && !FindNext();
  if (ran_dry_) return;
  lane_->SetShare(Backend::Share::kAll);
  forward_.SetShare(Backend::Share::kHalf);
}

BackwardLane::Progress BackwardLane::Report() const {
  const absl::MutexLock lock(&mutex_);
  Progress progress{.ran_dry = ran_dry_};
  for (const BackwardUnit& unit : given_) {
    if (!unit.tape->RanBackward(unit)) break;
    ++progress.done;
  }
  return progress;
}

void BackwardLane::Pause() {
  const absl::MutexLock lock(&mutex_);
  Forget();
  lane_->SetShare(Backend::Share::kNone);
  forward_.SetShare(Backend::Share::kAll);
}

bool BackwardLane::settled() const {
  const absl::MutexLock lock(&mutex_);
  return !running_;
}

bool BackwardLane::Settle(const std::atomic<bool>* yield) {
  const absl::MutexLock lock(&mutex_);
  Forget();
  lane_->SetShare(Backend::Share::kAll);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !running_; };
  while (!mutex_.AwaitWithTimeout(absl::Condition(&idle), kYieldPoll)) {
    if (yield != nullptr && yield->load(std::memory_order_relaxed)) return false;
  }
  return true;
}

void BackwardLane::Loop() {
  const absl::MutexLock lock(&mutex_);
  while (!stop_) {
    if (!FindNext()) {
      ran_dry_ = true;
      forward_.SetShare(Backend::Share::kAll);
      mutex_.Await(absl::Condition(this, &BackwardLane::has_news));
      continue;
    }
    const BackwardUnit unit = given_[next_++];
    running_ = true;
    mutex_.Unlock();
    run_(*lane_, unit);
    mutex_.Lock();
    unit.tape->NoteBackward(unit);
    running_ = false;
  }
}

}  // namespace tandem
