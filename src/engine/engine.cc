#include "engine/engine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/published_adapters.h"
#include "engine/step.h"

namespace tandem {
namespace {

// While a deadline may pass with nothing to run, the idle loop looks this often.
constexpr absl::Duration kIdlePoll = absl::Milliseconds(20);

// Tokens of a KV block that the CPU backend lays out (backend/cpu/kv_layout.h).
constexpr int kCpuKvBlockSize = 16;

}  // namespace

Engine::Engine(const EngineOptions& options, std::unique_ptr<Backend> backend)
    : options_(options), started_(absl::Now()), backend_(std::move(backend)), jobs_([] { return absl::Now(); }) {}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, std::unique_ptr<Backend> backend) {
  auto engine = std::unique_ptr<Engine>(new Engine(options, std::move(backend)));
  RETURN_IF_ERROR(engine->Load());
  return engine;
}

absl::Status Engine::Load() {
  RETURN_IF_ERROR(ValidateSchedulerOptions(options_.scheduler));
  if (options_.kv_block_size != kCpuKvBlockSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv.block_size is ", options_.kv_block_size, ", want ", kCpuKvBlockSize));
  }
  if (backend_ == nullptr) backend_ = CreateCpuBackend(options_.threads > 0 ? options_.threads : UsableCores());
  ASSIGN_OR_RETURN(const ModelDesc desc, LoadModelDesc(options_.model_path));
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(options_.model_path));
  if (tokenizer_->vocab_size() > desc.vocab) {
    return absl::InvalidArgumentError(absl::StrCat(options_.model_path, ": tokenizer.json has ids up to ",
                                                   tokenizer_->vocab_size() - 1, ", config.json's vocab_size is ",
                                                   desc.vocab));
  }
  auto chat_template = ChatTemplate::Load(options_.model_path);
  if (chat_template.ok()) {
    chat_template_ = *std::move(chat_template);
  } else if (!absl::IsNotFound(chat_template.status())) {
    return chat_template.status();
  }

  adapters_ = std::make_unique<AdapterStore>(*backend_, desc.linear_shapes());
  const int blocks = options_.kv_capacity_tokens / options_.kv_block_size;
  ASSIGN_OR_RETURN(
      model_,
      Model::Load(options_.model_path,
                  {.max_batch_rows = std::max(options_.scheduler.max_batch_rows, options_.training.backward_window),
                   .max_context = options_.max_context,
                   .kv_blocks = blocks,
                   .kv_block_size = options_.kv_block_size,
                   .progress = options_.progress},
                  *backend_, *adapters_));
  RETURN_IF_ERROR(LoadAdapters());

  pool_ = std::make_unique<BlockPool>(blocks, options_.kv_block_size);
  InferenceOptions inference = options_.inference;
  inference.embedding_width = static_cast<int>(desc.embedding_width);
  inference_ = std::make_unique<InferenceSource>(pool_.get(), tokenizer_.get(), &sequence_ids_, inference);
  CreateTraining();
  RETURN_IF_ERROR(CreateScheduler());
  {
    const absl::MutexLock lock(&status_mutex_);
    inference_rate_.Start(started_);
    training_rate_.Start(started_);
  }
  LOG_INFO("{}: {:.1f} M parameters, {}, context {}, KV pool {} tokens, on {}", options_.model_path,
           static_cast<double>(desc.num_parameters()) / 1e6, Name(model_->weight_dtype()), max_context(),
           blocks * options_.kv_block_size, backend_->name());
  return absl::OkStatus();
}

absl::Status Engine::LoadAdapters() {
  for (const PublishedAdapter& published : FindPublishedAdapters(options_.adapters_directory)) {
    const absl::Status status = adapters_->Restore(published.name, published.path, published.generation).status();
    // One that no longer fits (another model, a damaged file) must not keep the daemon down.
    if (status.ok()) {
      LOG_INFO("restored adapter {} generation {} ({})", published.name, published.generation, published.path);
    } else {
      LOG_WARN("adapter {} generation {} is left out: {}", published.name, published.generation, status.ToString());
    }
  }
  for (const auto& [name, path] : options_.adapters) {
    RETURN_IF_ERROR(Annotate(adapters_->Load(name, path).status(), absl::StrCat("adapter '", name, "'")));
  }
  return absl::OkStatus();
}

Engine::~Engine() {
  commands_.Close();
  if (step_thread_.joinable()) step_thread_.join();
}

void Engine::Start() {
  step_thread_ = std::thread([this] { StepLoop(); });
}

void Engine::StepLoop() {
  Stepper stepper({*scheduler_, *model_, *inference_, *training_, [] { return absl::Now(); }, &arrived_});
  while (!commands_.closed()) {
    arrived_.store(false, std::memory_order_relaxed);
    commands_.RunAll();
    const absl::Time begin = absl::Now();
    const Stepper::Outcome outcome = stepper.Step();
    if (outcome == Stepper::Outcome::kCommitted) {
      ReportIteration(scheduler_->last());
      PublishStatus(absl::Now() - begin);
      if (!backend_->alive() && failure().ok()) {
        EndAll(absl::UnavailableError("the device is lost; the daemon has to start anew"));
        options_.on_device_lost();
      }
    } else if (outcome == Stepper::Outcome::kIdle) {
      // Nothing can run. Requests that wait still have deadlines, and Commit is where they are seen.
      inference_->Commit({}, {}, begin);
      const bool idle = inference_->idle() && training_->running_jobs() == 0;
      const bool profiled = idle && Profile();
      PublishStatus(absl::ZeroDuration());
      if (profiled) continue;
      commands_.Wait(inference_->idle() ? absl::InfiniteDuration() : kIdlePoll);
    }
  }
}

// After this nothing runs: what is posted later finds the engine draining.
void Engine::EndAll(const absl::Status& why) {
  LOG_ERROR("{}", std::string(why.message()));
  RefuseWork(std::string(why.message()));
  training_->FailAll(why);
  inference_->AbortAll(why);
  const absl::MutexLock lock(&status_mutex_);
  failure_ = why;
}

void Engine::RefuseWork(std::string_view reason) {
  const absl::MutexLock lock(&status_mutex_);
  if (!draining_.load()) drain_reason_ = std::string(reason);
  draining_.store(true);
}

absl::Status Engine::Draining() const {
  const absl::MutexLock lock(&status_mutex_);
  return absl::UnavailableError(drain_reason_);
}

absl::Status Engine::failure() const {
  const absl::MutexLock lock(&status_mutex_);
  return failure_;
}

bool Engine::RunOnStepThread(const std::function<void()>& command) {
  absl::Notification done;
  if (!step_thread_.joinable() || !commands_.Post([&] {
        command();
        done.Notify();
      })) {
    return false;
  }
  done.WaitForNotification();
  return true;
}

void Engine::Drain(absl::Duration grace, std::string_view reason) {
  const absl::Time deadline = absl::Now() + grace;
  RefuseWork(reason);
  RunOnStepThread([this] { training_->FailAll(Draining()); });
  // Asked on the step thread, so that requests posted before draining_ was set count.
  bool idle = false;
  while (RunOnStepThread([&] { idle = inference_->idle(); }) && !idle && absl::Now() < deadline) {
    absl::SleepFor(std::min(kIdlePoll, deadline - absl::Now()));
  }
  RunOnStepThread([this] {
    inference_->AbortAll(
        absl::UnavailableError(absl::StrCat(Draining().message(), " and the request had no time left")));
  });
  commands_.Close();
  if (step_thread_.joinable()) step_thread_.join();
  if (cost_source_ != "guess") SaveCostModels();
}

absl::Status Engine::CheckRequest(const GenerateRequest& request) const {
  if (request.prompt.empty()) return absl::InvalidArgumentError("the prompt has no token, want at least 1");
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= desc().vocab) {
      return absl::InvalidArgumentError(absl::StrCat("prompt token ", token, ", want one in [0, ", desc().vocab, ")"));
    }
  }
  const int64_t total = static_cast<int64_t>(request.prompt.size()) + request.stop.max_tokens;
  const int64_t pool_tokens = static_cast<int64_t>(pool_->num_blocks()) * pool_->block_size();
  const int64_t limit = std::min<int64_t>(max_context(), pool_tokens);
  if (total > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt of ", request.prompt.size(), " tokens + max_tokens ", request.stop.max_tokens, " = ", total,
        ", want at most ", limit, limit == max_context() ? " (the model's context)" : " (the KV pool)"));
  }
  return absl::OkStatus();
}

absl::Status Engine::Generate(GenerateRequest request, std::shared_ptr<GenerationSink> sink) {
  if (draining_.load()) return Draining();
  RETURN_IF_ERROR(CheckRequest(request));
  ApplyTargets(request);
  AdapterLease lease;
  AdapterRef adapter;
  if (!request.adapter.empty()) {
    ASSIGN_OR_RETURN(lease, adapters_->Acquire(request.adapter));
    adapter = lease->ref();
  }
  const bool posted = commands_.Post([this, request = std::move(request), adapter, lease, sink]() mutable {
    absl::Status status = CheckTargets(request);
    if (status.ok()) status = inference_->Submit(std::move(request), adapter, lease, sink, absl::Now());
    if (!status.ok()) sink->OnEnd({.status = status, .reason = FinishReason::kCancelled});
  });
  arrived_.store(true, std::memory_order_relaxed);
  return posted ? absl::OkStatus() : Draining();
}

void Engine::Abort(const std::string& request_id) {
  commands_.Post([this, request_id] { inference_->Abort(request_id); });
}

std::vector<AdapterInfo> Engine::ListAdapters() const {
  return adapters_->List();
}

absl::StatusOr<AdapterInfo> Engine::LoadAdapter(const std::string& name, const std::string& path) {
  if (draining_.load()) return Draining();
  return adapters_->Load(name, path);
}

absl::Status Engine::UnloadAdapter(const std::string& name) {
  return adapters_->Unload(name);
}

void Engine::PublishStatus(absl::Duration step_time) {
  const InferenceCounts inference = inference_->counts();
  const absl::Time now = absl::Now();
  const absl::MutexLock lock(&status_mutex_);
  inference_rate_.Add(
      now, inference.prompt_tokens + inference.generated_tokens - status_.prompt_tokens - status_.generated_tokens);
  training_rate_.Add(now, training_->trained_tokens() - status_.trained_tokens);
  status_.running_requests = inference.running;
  status_.waiting_requests = inference.waiting;
  status_.prompt_tokens = inference.prompt_tokens;
  status_.generated_tokens = inference.generated_tokens;
  status_.running_jobs = training_->running_jobs();
  status_.queued_jobs = training_->queued_jobs();
  status_.trained_tokens = training_->trained_tokens();
  status_.kv_blocks_used = pool_->used();
  status_.kv_blocks_cached = pool_->cached();
  status_.cached_prompt_tokens = inference.cached_tokens;
  status_.preemptions = inference.preemptions;
  status_.training_preemptions = training_->preemptions();
  status_.drafted_tokens = inference.drafted_tokens;
  status_.accepted_tokens = inference.accepted_tokens;
  if (step_time > absl::ZeroDuration()) {
    status_.last_step_ms = absl::ToDoubleMilliseconds(step_time);
    ++status_.steps;
    status_.scheduler.busy_seconds += absl::ToDoubleSeconds(step_time);
    PublishIteration(scheduler_->last());
  }
  status_.scheduler.slo_requests = inference.slo_requests;
  status_.scheduler.slo_met = inference.slo_met;
  status_.scheduler.slo_recent = inference.slo_recent;
  status_.scheduler.slo_unmeetable = unmeetable_;
  status_.scheduler.cost_model = CostModelState();
}

EngineStatus Engine::GetStatus() const {
  EngineStatus status;
  {
    const absl::MutexLock lock(&status_mutex_);
    status = status_;
    status.inference_tokens_per_second = inference_rate_.PerSecond(absl::Now());
    status.training_tokens_per_second = training_rate_.PerSecond(absl::Now());
  }
  status.model_path = options_.model_path;
  const size_t slash = options_.model_path.find_last_not_of('/');
  const std::string trimmed = options_.model_path.substr(0, slash + 1);
  status.model_name = trimmed.substr(trimmed.rfind('/') + 1);
  status.backend = backend_->name();
  status.weight_dtype = Name(model_->weight_dtype());
  status.num_parameters = desc().num_parameters();
  status.max_context = max_context();
  status.kv_blocks_total = pool_->num_blocks();
  status.kv_block_size = pool_->block_size();
  status.started = started_;
  status.draining = draining_.load();
  return status;
}

}  // namespace tandem
