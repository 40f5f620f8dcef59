// The one model that the daemon serves, or none: loaded and unloaded while the front ends run. A call takes a lease; a
// model that is unloaded takes no new ones, ends what runs, and is destroyed once the last lease is back. So no call
// ever sees half of a model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "serve/core/generation.h"
#include "serve/core/parts.h"
#include "serve/core/work_queue.h"
#include "tandem/load_progress.h"

namespace tandem {

struct ModelSource {
  std::string path, name;
};

// "models/demo/" is called demo.
std::string ModelName(const std::string& path);

// A model's engine. Made by the daemon's wiring, by tests from fakes.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  virtual ServeParts parts() = 0;  // valid as long as this
  // Starts the step loop; before it no request is given. Once.
  virtual void Start() = 0;
  // Takes no new work, lets running requests finish within `grace`, ends the rest and all jobs with UNAVAILABLE and
  // `reason`, then stops the loop. When it returns, every sink has had its OnEnd; calls are refused from then on. Once.
  virtual void Drain(absl::Duration grace, std::string_view reason) = 0;
  // Why it ended by itself: what the process should end with. Any thread.
  virtual absl::Status failure() const { return absl::OkStatus(); }
};

using ModelLoader =
    std::function<absl::StatusOr<std::unique_ptr<LoadedModel>>(const ModelSource&, const LoadProgress&)>;

// What a lease is for.
struct ServedModel {
  ServedModel(std::string model_name, const ServeParts& serve_parts)
      : name(std::move(model_name)), parts(serve_parts), generation(parts.model, parts.inference, parts.random) {}
  const std::string name;
  const ServeParts parts;
  GenerationHandler generation;
};
using ModelLease = std::shared_ptr<ServedModel>;  // shared: any number of calls hold it, the last one frees the model

enum class ModelState { kLoading, kReady, kUnloading };

struct ModelInfo {
  ModelSource source;
  ModelState state = ModelState::kLoading;
  double progress = 0;  // of loading
  absl::Time since;
  std::optional<EngineStatus> engine;  // where it is ready
};

// One call at a time.
class ModelObserver {
 public:
  virtual ~ModelObserver() = default;
  virtual void OnServing(bool serving) = 0;
  virtual void OnDrained() = 0;  // its work has ended: what still holds a lease without need lets it go
};

// Thread-safe. Loading and unloading run on a thread of its own, one after the other.
class ModelHost {
 public:
  // Unload's grace is at most `max_grace`.
  ModelHost(ModelLoader loader, absl::Duration max_grace);
  ~ModelHost();  // Drain(now), unless it was; waits for the leases

  // FAILED_PRECONDITION: no model is loaded; UNAVAILABLE: one is being loaded or unloaded.
  absl::StatusOr<ModelLease> Lease() const;

  std::optional<ModelInfo> Info() const;                         // none: no model
  absl::StatusOr<ModelInfo> Get(const std::string& name) const;  // NOT_FOUND

  // `done` is called once: here where the load is refused (ALREADY_EXISTS, FAILED_PRECONDITION, UNAVAILABLE), else by
  // the host's thread. Where loading fails, its status says why and there is no model.
  using LoadDone = std::function<void(absl::StatusOr<ModelInfo>)>;
  void Load(ModelSource source, LoadDone done);

  // Ends a load with CANCELLED. `done` is called once, when the memory is free.
  using UnloadDone = std::function<void(absl::Status)>;
  void Unload(const std::string& name, absl::Duration grace, UnloadDone done);

  // Ends a load; drains what is loaded, of which leases are still given. No Load is taken any more. Once.
  void Drain(absl::Duration grace);

  // That of the model that was drained: what the process should end with. After Drain.
  absl::Status failure() const { return loaded_ == nullptr ? absl::OkStatus() : loaded_->failure(); }

  // Null: none. Told at once whether there is a model to serve; when this returns, the one before is not called again.
  void SetObserver(ModelObserver* observer);

 private:
  absl::Status Reserve(const ModelSource& source);
  absl::StatusOr<ModelInfo> LoadNow(const ModelSource& source);
  absl::Status CheckUnload(const std::string& name);
  void DrainNow(absl::Duration grace, std::string_view reason);
  void Free();
  void TellServing(bool serving);
  absl::Status Absence() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ModelLoader loader_;
  const absl::Duration max_grace_;
  std::unique_ptr<LoadedModel> loaded_;  // of the host's thread
  bool drained_ = false;                 // loaded_ was; of the host's thread

  mutable absl::Mutex mutex_;
  std::optional<ModelInfo> slot_ ABSL_GUARDED_BY(mutex_);  // without .engine
  ModelLease served_ ABSL_GUARDED_BY(mutex_);
  bool leased_ ABSL_GUARDED_BY(mutex_) = false;     // a ServedModel exists
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // the load under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Mutex observer_mutex_;
  ModelObserver* observer_ ABSL_GUARDED_BY(observer_mutex_) = nullptr;
  bool serving_ ABSL_GUARDED_BY(observer_mutex_) = false;

  WorkQueue work_{1};
};

}  // namespace tandem
