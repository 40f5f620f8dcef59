// Models as the configuration wants them: a directory in, an engine out. The only file of the daemon that sees the
// engine.
#include <random>
#include <utility>

#include "backend/factory.h"
#include "base/status.h"
#include "daemon/daemon.h"
#include "engine/engine.h"
#include "serve/core/generation_defaults.h"

namespace tandem {
namespace {

BackendOptions ToBackendOptions(const Config& config) {
  const std::string& name = config.backend;
  return {.kind = name == "cpu"    ? BackendKind::kCpu
                  : name == "cuda" ? BackendKind::kCuda
                                   : BackendKind::kAuto,
          .threads = config.engine.threads,
          .deterministic = config.deterministic};
}

void ApplySlo(const Config::Slo& slo, EngineOptions& options) {
  const auto target = [](absl::Duration d) { return d > absl::ZeroDuration() ? d : absl::InfiniteDuration(); };
  options.slo = {.ttft = target(slo.ttft), .tpot = target(slo.tpot)};
  for (const Config::SloClass& c : slo.classes) {
    options.slo_classes[c.priority] = {.ttft = target(c.ttft), .tpot = target(c.tpot)};
  }
  options.refuse_unmeetable = slo.unmeetable == "refuse";
  const bool configured = !slo.classes.empty() || slo.ttft > absl::ZeroDuration() || slo.tpot > absl::ZeroDuration();
  if (configured) options.scheduler.max_iteration = slo.max_iteration;
}

EngineOptions ToEngineOptions(const Config& config, const ModelSource& source) {
  EngineOptions options;
  options.model_path = source.path;
  options.threads = config.engine.threads;
  options.max_context = config.engine.max_context;
  options.kv_capacity_tokens = config.kv.capacity_tokens;
  options.kv_block_size = config.kv.block_size;
  options.scheduler.max_batch_rows = config.engine.max_batch_rows;
  options.scheduler.max_running_requests = config.engine.max_running_requests;
  options.scheduler.max_prefill_rows = config.scheduler.max_prefill_rows;
  options.scheduler.training_rows_beside_inference = config.scheduler.training_rows_beside_inference;
  options.scheduler.temporal_every = config.scheduler.temporal_every;
  options.scheduler.static_training_share = config.scheduler.static_training_percent / 100.0;
  options.scheduler.training_floor_rows = config.scheduler.training_floor_rows;
  options.policy = config.scheduler.policy;
  options.cost_directory = config.state_dir + "/cost";
  options.profile_limit = config.scheduler.profile_limit;
  ApplySlo(config.slo, options);
  const Config::PromptLookup& prompt_lookup = config.speculation.prompt_lookup;
  options.inference.speculation = {.max_tokens = prompt_lookup.max_tokens,
                                   .min_ngram = prompt_lookup.min_ngram,
                                   .max_ngram = prompt_lookup.max_ngram};
  options.inference.max_waiting = config.engine.max_waiting_requests;
  options.inference.prefix_cache = config.kv.prefix_cache;
  for (const Config::Tenant& tenant : config.scheduler.tenants) {
    options.inference.tenant_weights.emplace(tenant.name, tenant.weight);
  }
  options.training.max_running_jobs = config.training.max_running_jobs;
  options.training.forward_window = config.training.forward_window;
  options.training.backward_window = config.training.backward_window;
  options.max_queued_jobs = config.training.max_queued_jobs;
  options.adapters_directory = config.adapters.directory;
  // They were made for the model of the configuration.
  if (source.path == config.model.path) {
    for (const Config::AdapterFile& file : config.adapters.load) options.adapters.emplace_back(file.name, file.path);
  }
  return options;
}

// A seed for a request that brings none: from the system, so that no two daemons draw alike. Thread-safe.
uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

class EngineModel final : public LoadedModel {
 public:
  EngineModel(std::unique_ptr<Engine> engine, GenerationDefaults defaults)
      : engine_(std::move(engine)), defaults_(std::move(defaults)) {}

  ServeParts parts() override {
    ServeParts parts;
    parts.model = {.tokenizer = &engine_->tokenizer(),
                   .chat_template = engine_->chat_template(),
                   .defaults = defaults_,
                   .max_context = engine_->max_context(),
                   .vocab = engine_->desc().vocab};
    parts.inference = engine_.get();
    parts.fine_tuning = engine_.get();
    parts.adapters = engine_.get();
    parts.status = engine_.get();
    parts.random = DrawSeed;
    return parts;
  }

  void Start() override { engine_->Start(); }

  void Drain(absl::Duration grace, std::string_view reason) override { engine_->Drain(grace, reason); }
  absl::Status failure() const override { return engine_->failure(); }

 private:
  const std::unique_ptr<Engine> engine_;
  const GenerationDefaults defaults_;
};

}  // namespace

bool UsesDevice(const Config& config) {
  return FindsDevice(ToBackendOptions(config).kind);
}

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const Config& config, const ModelSource& source,
                                                       const LoadProgress& progress,
                                                       const std::function<void()>& on_device_lost) {
  ASSIGN_OR_RETURN(GenerationDefaults defaults, LoadGenerationDefaults(source.path));
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CreateBackend(ToBackendOptions(config)));
  EngineOptions options = ToEngineOptions(config, source);
  options.on_device_lost = on_device_lost;
  options.progress = progress;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options, std::move(backend)));
  return std::make_unique<EngineModel>(std::move(engine), std::move(defaults));
}

}  // namespace tandem
