#include "serve/core/model_host.h"

#include <malloc.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace tandem {
namespace {

absl::Status ShuttingDown() {
  return absl::UnavailableError("tandemd is shutting down");
}

absl::Status NotTheModel(const std::string& name, const std::optional<ModelInfo>& loaded) {
  return absl::NotFoundError(absl::StrCat(
      "no model '", name, "'",
      loaded.has_value() ? absl::StrCat(", want '", loaded->source.name, "'") : std::string("; none is loaded")));
}

}  // namespace

std::string ModelName(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

ModelHost::ModelHost(ModelLoader loader, absl::Duration max_grace)
    : loader_(std::move(loader)), max_grace_(max_grace) {}

ModelHost::~ModelHost() {
  Drain(absl::ZeroDuration());
  Free();
}

absl::Status ModelHost::Absence() const {
  if (!slot_.has_value()) {
    return absl::FailedPreconditionError("no model is loaded, want Models.Load first: tandem models load PATH");
  }
  const std::string model = absl::StrCat("model '", slot_->source.name, "' is being ");
  if (slot_->state == ModelState::kUnloading) return absl::UnavailableError(absl::StrCat(model, "unloaded"));
  return absl::UnavailableError(
      absl::StrFormat("%sloaded, %.0f %% are done; try again soon", model, 100 * slot_->progress));
}

absl::StatusOr<ModelLease> ModelHost::Lease() const {
  const absl::MutexLock lock(&mutex_);
  if (slot_.has_value() && slot_->state == ModelState::kReady) return served_;
  return Absence();
}

std::optional<ModelInfo> ModelHost::Info() const {
  std::optional<ModelInfo> info;
  ModelLease lease;
  {
    const absl::MutexLock lock(&mutex_);
    info = slot_;
    if (info.has_value() && info->state == ModelState::kReady) lease = served_;
  }
  if (lease != nullptr) info->engine = lease->parts.status->GetStatus();
  return info;
}

absl::StatusOr<ModelInfo> ModelHost::Get(const std::string& name) const {
  std::optional<ModelInfo> info = Info();
  if (info.has_value() && info->source.name == name) return *std::move(info);
  return NotTheModel(name, info);
}

absl::Status ModelHost::Reserve(const ModelSource& source) {
  const absl::MutexLock lock(&mutex_);
  if (stopping_) return ShuttingDown();
  if (!slot_.has_value()) {
    slot_ = {.source = source, .state = ModelState::kLoading, .since = absl::Now()};
    cancelled_ = false;
    return absl::OkStatus();
  }
  if (slot_->state != ModelState::kReady) return Absence();
  if (slot_->source.name == source.name) {
    return absl::AlreadyExistsError(
        absl::StrCat("model '", source.name, "' is loaded already, from ", slot_->source.path));
  }
  return absl::FailedPreconditionError(absl::StrCat("model '", slot_->source.name,
                                                    "' is loaded and one is served at a time, want it unloaded first: ",
                                                    "tandem models unload ", slot_->source.name));
}

void ModelHost::Load(ModelSource source, LoadDone done) {
  if (const absl::Status refused = Reserve(source); !refused.ok()) return done(refused);
  work_.Post([this, source = std::move(source), done = std::move(done)] { done(LoadNow(source)); });
}

absl::StatusOr<ModelInfo> ModelHost::LoadNow(const ModelSource& source) {
  const auto progress = [this](double share) {
    const absl::MutexLock lock(&mutex_);
    slot_->progress = std::clamp(share, 0.0, 1.0);
    if (stopping_) return ShuttingDown();
    return cancelled_ ? absl::CancelledError("unloaded while it was being loaded") : absl::OkStatus();
  };
  const absl::Time begin = absl::Now();
  absl::Status status = progress(0);
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded(nullptr);
  if (status.ok()) {
    loaded = loader_(source, progress);
    status = loaded.status();
  }
  if (!status.ok()) {
    LOG_WARN("model {} is not loaded: {}", source.name, status.ToString());
    const absl::MutexLock lock(&mutex_);
    slot_.reset();
    return status;
  }
  loaded_ = *std::move(loaded);
  drained_ = false;
  loaded_->Start();
  // The deleter tells Free that no call holds the model any more.
  ModelLease served(new ServedModel(source.name, loaded_->parts()), [this](ServedModel* model) {
    delete model;
    const absl::MutexLock lock(&mutex_);
    leased_ = false;
  });
  {
    const absl::MutexLock lock(&mutex_);
    served_ = std::move(served);
    leased_ = true;
    slot_->state = ModelState::kReady;
    slot_->progress = 1;
    slot_->since = absl::Now();
  }
  LOG_INFO("model {} serves after {:.2f} s", source.name, absl::ToDoubleSeconds(absl::Now() - begin));
  TellServing(true);
  return *Info();
}

absl::Status ModelHost::CheckUnload(const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  if (!slot_.has_value() || slot_->source.name != name) return NotTheModel(name, slot_);
  if (slot_->state == ModelState::kUnloading) return Absence();
  cancelled_ = true;
  // A load sees it and ends; where it was quicker, it is unloaded.
  if (slot_->state == ModelState::kLoading) return absl::OkStatus();
  slot_->state = ModelState::kUnloading;
  slot_->since = absl::Now();
  return absl::OkStatus();
}

void ModelHost::Unload(const std::string& name, absl::Duration grace, UnloadDone done) {
  if (const absl::Status refused = CheckUnload(name); !refused.ok()) return done(refused);
  work_.Post([this, name, grace = std::min(grace, max_grace_), done = std::move(done)] {
    if (loaded_ != nullptr) {
      {
        const absl::MutexLock lock(&mutex_);
        slot_->state = ModelState::kUnloading;
      }
      LOG_INFO("unloading model {}: running requests have {} to finish", name, absl::FormatDuration(grace));
      DrainNow(grace, absl::StrCat("model '", name, "' is being unloaded"));
      Free();
      LOG_INFO("unloaded model {}", name);
    }
    done(absl::OkStatus());
  });
}

void ModelHost::Drain(absl::Duration grace) {
  {
    const absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  absl::Notification drained;
  work_.Post([&] {
    DrainNow(grace, "the daemon is shutting down");
    drained.Notify();
  });
  drained.WaitForNotification();
}

void ModelHost::DrainNow(absl::Duration grace, std::string_view reason) {
  if (loaded_ == nullptr || std::exchange(drained_, true)) return;
  TellServing(false);
  loaded_->Drain(grace, reason);
  const absl::MutexLock lock(&observer_mutex_);
  if (observer_ != nullptr) observer_->OnDrained();
}

void ModelHost::Free() {
  ModelLease served;
  {
    const absl::MutexLock lock(&mutex_);
    served = std::move(served_);
  }
  served.reset();
  {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](bool* leased) { return !*leased; }, &leased_));
  }
  loaded_.reset();
  ::malloc_trim(0);  // glibc keeps what is small or fragmented; the next model may be far smaller
  const absl::MutexLock lock(&mutex_);
  slot_.reset();
}

void ModelHost::TellServing(bool serving) {
  const absl::MutexLock lock(&observer_mutex_);
  serving_ = serving;
  if (observer_ != nullptr) observer_->OnServing(serving);
}

void ModelHost::SetObserver(ModelObserver* observer) {
  const absl::MutexLock lock(&observer_mutex_);
  observer_ = observer;
  if (observer_ != nullptr) observer_->OnServing(serving_);
}

}  // namespace tandem
