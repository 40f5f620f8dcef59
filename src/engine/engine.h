// The running engine: the parts, the step thread that drives them, and the APIs that front ends call.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "adapter/adapter_store.h"
#include "engine/command_queue.h"
#include "engine/cost_profile.h"
#include "inference/inference_source.h"
#include "kv/block_pool.h"
#include "model/model.h"
#include "sched/scheduler.h"
#include "tandem/api.h"
#include "tandem/load_progress.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "training/io_executor.h"
#include "training/job_registry.h"
#include "training/token_rate.h"
#include "training/training_source.h"

namespace tandem {

struct EngineOptions {
  std::string model_path;
  int threads = 0;                 // of the CPU backend where Create is given none; 0: one per core
  int max_context = 0;             // tokens; 0: the model's
  int kv_capacity_tokens = 16384;  // of the whole pool
  int kv_block_size = 16;
  SchedulerOptions scheduler;
  std::string policy = "coserving";
  absl::Duration profile_limit = absl::ZeroDuration();  // of the cost model's profile, in idle time; 0: none
  std::string cost_directory;                           // where cost models are kept; "": nowhere
  SloTargets slo;                                       // of requests that bring none
  std::map<int, SloTargets> slo_classes;                // by priority, before `slo`
  bool refuse_unmeetable = false;                       // refuse what an idle daemon could not meet, else log it
  InferenceOptions inference;
  TrainingOptions training;
  int max_queued_jobs = 64;
  std::function<void()> on_device_lost = [] {};               // once, on the step thread, when all has been ended
  LoadProgress progress;                                      // of Create
  std::string adapters_directory;                             // where jobs write what they publish
  std::vector<std::pair<std::string, std::string>> adapters;  // (name, PEFT directory) loaded at start
};

// All API calls are thread-safe. Create, Start, then calls, then Drain or destruction.
class Engine final : public InferenceApi, public FineTuningApi, public AdapterApi, public StatusApi {
 public:
  // Loads model, tokenizer and adapters. Errors name the file. Without a backend it runs on the CPU's.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        std::unique_ptr<Backend> backend = nullptr);
  ~Engine() override;  // stops at once: what runs ends with CANCELLED

  void Start();
  // Refuses new work with UNAVAILABLE and `reason`, ends jobs with it, gives running requests `grace` to finish, and
  // stops the step thread. Once.
  void Drain(absl::Duration grace, std::string_view reason = "the daemon is shutting down");

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate* chat_template() const { return chat_template_.get(); }  // null where the model has none
  const ModelDesc& desc() const { return model_->desc(); }
  int max_context() const { return model_->max_context(); }

  absl::Status Generate(GenerateRequest request, std::shared_ptr<GenerationSink> sink) override;
  void Abort(const std::string& request_id) override;

  absl::StatusOr<JobInfo> CreateJob(JobSpec spec) override;
  absl::StatusOr<JobInfo> GetJob(const std::string& id) const override;
  std::vector<JobInfo> ListJobs() const override;
  absl::Status WatchJob(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink) override;
  void StopWatching(const std::string& id, const JobSink* sink) override;
  absl::StatusOr<JobInfo> CancelJob(const std::string& id) override;

  std::vector<AdapterInfo> ListAdapters() const override;
  absl::StatusOr<AdapterInfo> LoadAdapter(const std::string& name, const std::string& path) override;
  absl::Status UnloadAdapter(const std::string& name) override;

  EngineStatus GetStatus() const override;

  // Not OK: the device is lost, everything has been ended with this, and only a new process can go on.
  absl::Status failure() const;

 private:
  Engine(const EngineOptions& options, std::unique_ptr<Backend> backend);
  // From now on; where it is refused already, the first reason stays.
  void RefuseWork(std::string_view reason);
  absl::Status Draining() const;  // that work is refused, and why
  absl::Status Load();
  absl::Status LoadAdapters();
  void CreateTraining();
  void StepLoop();
  void EndAll(const absl::Status& why);
  void PublishStatus(absl::Duration step_time);
  absl::Status CheckRequest(const GenerateRequest& request) const;
  absl::Status CreateScheduler();
  absl::Status CreateCostModel();
  void StartProfile();
  void SaveCostModels() const;
  // A run of the profile, where it is not through yet; false where it is.
  bool Profile();
  std::string CostModelState() const;
  // Fills in the targets that the request does not bring.
  void ApplyTargets(GenerateRequest& request) const;
  // Step thread. FAILED_PRECONDITION with the predicted figure where the targets can not be met and such are refused.
  absl::Status CheckTargets(const GenerateRequest& request);
  void PublishIteration(const IterationReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(status_mutex_);
  void ReportIteration(const IterationReport& report);
  PrepareContext MakePrepareContext() const;
  // Runs `command` on the step thread and waits for it; false where that thread has ended.
  bool RunOnStepThread(const std::function<void()>& command);

  const EngineOptions options_;
  const absl::Time started_;

  // In the order of construction; each may borrow from those above it.
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<AdapterStore> adapters_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<BlockPool> pool_;
  SequenceIds sequence_ids_;
  JobRegistry jobs_;
  std::unique_ptr<IoThread> io_;
  std::unique_ptr<InferenceSource> inference_;
  std::unique_ptr<TrainingSource> training_;
  std::unique_ptr<CostModel> cost_;
  std::unique_ptr<CostModel> beside_;  // of the forward beside backward; null where the backend has no lane
  std::string cost_path_, beside_path_, cost_source_;
  std::unique_ptr<IdleProfile> profile_;  // null when it is through
  bool profiles_beside_ = false;          // it is the second one
  std::unique_ptr<Scheduler> scheduler_;

  CommandQueue commands_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> arrived_{false};                       // a request was posted since the step began
  bool outlier_logged_ = false, forced_reported_ = false;  // step thread only
  int64_t unmeetable_ = 0;                                 // step thread only
  std::thread step_thread_;

  mutable absl::Mutex status_mutex_;
  std::string drain_reason_ ABSL_GUARDED_BY(status_mutex_) = "the daemon is shutting down";
  absl::Status failure_ ABSL_GUARDED_BY(status_mutex_);
  EngineStatus status_ ABSL_GUARDED_BY(status_mutex_);  // as of the last step
  TokenRate inference_rate_ ABSL_GUARDED_BY(status_mutex_);
  TokenRate training_rate_ ABSL_GUARDED_BY(status_mutex_);
};

}  // namespace tandem
