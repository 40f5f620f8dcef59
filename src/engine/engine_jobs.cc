// The engine's fine-tuning side: jobs are prepared on the caller's thread and handed to the step thread whole.
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/engine.h"
#include "training/prepare.h"

namespace tandem {

void Engine::CreateTraining() {
  io_ = std::make_unique<IoThread>();
  training_ =
      std::make_unique<TrainingSource>(TrainingParts{.desc = &desc(),
                                                     .activations = model_->activation_dtype(),
                                                     .backend = backend_.get(),
                                                     .pool = pool_.get(),
                                                     .sequence_ids = &sequence_ids_,
                                                     .registry = &jobs_,
                                                     .row_norms = &model_->row_norms(),
                                                     .publication = {.store = adapters_.get(),
                                                                     .registry = &jobs_,
                                                                     .io = io_.get(),
                                                                     .adapters_dir = options_.adapters_directory,
                                                                     .base_model = options_.model_path},
                                                     .settle_backward = [this] { model_->SettleBackward(); },
                                                     .options = options_.training});
}

PrepareContext Engine::MakePrepareContext() const {
  PrepareContext context;
  context.desc = &desc();
  context.activations = model_->activation_dtype();
  context.tokenizer = tokenizer_.get();
  context.chat_template = chat_template_.get();
  if (!desc().eos_token_ids.empty()) context.end_token = desc().eos_token_ids[0];
  context.adapters = adapters_.get();
  context.max_context = max_context();
  // Two samples are in flight, and training may hold only its share of the pool.
  context.max_blocks = TrainingBlocksLimit(options_.scheduler, pool_->num_blocks()) / 2;
  context.block_size = pool_->block_size();
  return context;
}

absl::StatusOr<JobInfo> Engine::CreateJob(JobSpec spec) {
  if (draining_.load()) return Draining();
  if (const auto first = jobs_.FindByKey(spec.idempotency_key)) return *first;
  {
    const absl::MutexLock lock(&status_mutex_);
    if (status_.queued_jobs >= options_.max_queued_jobs) {
      return absl::ResourceExhaustedError(absl::StrCat(status_.queued_jobs, " jobs are queued, want fewer than ",
                                                       options_.max_queued_jobs, " (training.max_queued_jobs)"));
    }
  }
  const std::string key = spec.idempotency_key;
  ASSIGN_OR_RETURN(PreparedJob prepared, PrepareJob(std::move(spec), MakePrepareContext()));
  const JobRegistry::Created created = jobs_.Create(InfoOf(prepared), key);
  if (!created.is_new) return created.info;
  // std::function wants copyable closures; the job is moved out of its holder by the one call.
  const auto holder = std::make_shared<PreparedJob>(std::move(prepared));
  const JobId number = created.number;
  if (!commands_.Post([this, number, holder] { training_->Enqueue(number, std::move(*holder)); })) {
    jobs_.Finish(number, JobState::kFailed, Draining());
  }
  return created.info;
}

absl::StatusOr<JobInfo> Engine::GetJob(const std::string& id) const {
  return jobs_.Get(id);
}

std::vector<JobInfo> Engine::ListJobs() const {
  return jobs_.List();
}

absl::Status Engine::WatchJob(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink) {
  return jobs_.Watch(id, first_event, std::move(sink));
}

void Engine::StopWatching(const std::string& id, const JobSink* sink) {
  jobs_.StopWatching(id, sink);
}

absl::StatusOr<JobInfo> Engine::CancelJob(const std::string& id) {
  ASSIGN_OR_RETURN(const JobId number, jobs_.NumberOf(id));
  ASSIGN_OR_RETURN(JobInfo info, jobs_.RequestCancel(id));
  commands_.Post([this, number] { training_->Cancel(number); });
  return info;
}

}  // namespace tandem
