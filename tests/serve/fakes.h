// Fakes of the engine's seams and of the tokenizer: scripted by tests, waiting on conditions instead of sleeping.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "serve/core/model_host.h"
#include "tandem/api.h"

namespace tandem {

inline constexpr std::chrono::seconds kTestPatience{120};  // only a failing test waits so long

// One token a byte, id = byte + 1; kAdd puts kBos in front.
class FakeTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 0;
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens special) const override {
    std::vector<int32_t> ids;
    if (special == SpecialTokens::kAdd) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 1);
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += IdToToken(id);
    return text;
  }
  int vocab_size() const override { return 257; }
  std::optional<int32_t> TokenToId(std::string_view) const override { return std::nullopt; }
  std::string IdToToken(int32_t id) const override {
    return id >= 1 && id <= 256 ? std::string(1, static_cast<char>(id - 1)) : "";
  }
  bool IsSpecial(int32_t id) const override { return id == kBos; }
};

// Takes requests and lets the test answer them. Abort ends a request with CANCELLED, as the engine does.
class FakeInference : public InferenceApi {
 public:
  struct Running {
    GenerateRequest request;
    std::shared_ptr<GenerationSink> sink;
  };

  absl::Status refusal;                             // what Generate says, where it is not OK
  std::function<void(GenerationSink&)> on_refusal;  // where set, happens while Generate refuses
  std::function<void(const Running&)> on_generate;  // where set, answers on the caller's thread

  absl::Status Generate(GenerateRequest request, std::shared_ptr<GenerationSink> sink) override {
    if (!refusal.ok()) {
      if (on_refusal) on_refusal(*sink);
      return refusal;
    }
    Running running{std::move(request), std::move(sink)};
    if (on_generate) {
      on_generate(running);
      return absl::OkStatus();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    running_.push_back(std::move(running));
    changed_.notify_all();
    return absl::OkStatus();
  }

  void Abort(const std::string& request_id) override {
    std::shared_ptr<GenerationSink> sink;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      aborted_.push_back(request_id);
      for (Running& running : running_) {
        if (running.request.request_id == request_id) sink = std::exchange(running.sink, nullptr);
      }
      changed_.notify_all();
    }
    if (sink != nullptr) sink->OnEnd({.status = absl::CancelledError("aborted"), .reason = FinishReason::kCancelled});
  }

  // The first `count` requests, once there are so many. Each request's sink is the test's to end.
  std::vector<Running> WaitForRequests(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    CHECK(changed_.wait_for(lock, kTestPatience, [&] { return running_.size() >= count; })) << "no request came";
    return running_;
  }
  Running WaitForRequest() { return WaitForRequests(1)[0]; }

  std::vector<std::string> aborted() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return aborted_;
  }

  std::string WaitForAbort() {
    std::unique_lock<std::mutex> lock(mutex_);
    CHECK(changed_.wait_for(lock, kTestPatience, [&] { return !aborted_.empty(); })) << "no abort came";
    return aborted_[0];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Running> running_;
  std::vector<std::string> aborted_;
};

// One job, "job-1", whose events the test emits.
class FakeFineTuning : public FineTuningApi {
 public:
  JobInfo job{.id = "job-1", .adapter_name = "support", .state = JobState::kQueued, .total_steps = 4};
  absl::Status refusal;
  std::vector<JobEvent> events_at_creation;  // emitted and ended by CreateJob: a job that is done at once

  absl::StatusOr<JobInfo> CreateJob(JobSpec spec) override {
    if (!refusal.ok()) return refusal;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      spec_ = std::move(spec);
    }
    for (const JobEvent& event : events_at_creation) Emit(event);
    if (!events_at_creation.empty()) End();
    return job;
  }
  absl::StatusOr<JobInfo> GetJob(const std::string& id) const override {
    if (id != job.id) return absl::NotFoundError("no job '" + id + "'; did you mean 'job-1'?");
    return job;
  }
  std::vector<JobInfo> ListJobs() const override { return {job}; }
  absl::StatusOr<JobInfo> CancelJob(const std::string& id) override {
    RETURN_IF_ERROR(GetJob(id).status());
    JobInfo cancelled = job;
    cancelled.state = JobState::kCancelling;
    return cancelled;
  }

  absl::Status WatchJob(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink) override {
    RETURN_IF_ERROR(GetJob(id).status());
    const std::lock_guard<std::mutex> lock(mutex_);
    ++num_watches_;
    for (const JobEvent& event : events_) {
      if (event.number >= first_event) sink->OnEvent(event);
    }
    if (ended_) {
      sink->OnEnd();
    } else {
      sinks_.push_back(std::move(sink));
    }
    changed_.notify_all();
    return absl::OkStatus();
  }
  void StopWatching(const std::string&, const JobSink* sink) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(sinks_, [&](const std::shared_ptr<JobSink>& watching) { return watching.get() == sink; });
    changed_.notify_all();
  }

  // Numbers the event and sends it to all watchers.
  void Emit(JobEvent event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    event.number = static_cast<int64_t>(events_.size()) + 1;
    events_.push_back(event);
    for (const auto& sink : sinks_) sink->OnEvent(event);
  }
  void End() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    for (const auto& sink : sinks_) sink->OnEnd();
    sinks_.clear();
  }

  void WaitForWatchers(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    CHECK(changed_.wait_for(lock, kTestPatience, [&] { return sinks_.size() == count; })) << "watchers";
  }
  int num_watches() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return num_watches_;
  }
  JobSpec spec() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return spec_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  JobSpec spec_;
  std::vector<JobEvent> events_;
  std::vector<std::shared_ptr<JobSink>> sinks_;
  bool ended_ = false;
  int num_watches_ = 0;
};

class FakeAdapters : public AdapterApi {
 public:
  std::vector<AdapterInfo> ListAdapters() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return adapters_;
  }
  absl::StatusOr<AdapterInfo> LoadAdapter(const std::string& name, const std::string& path) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    adapters_.push_back({.name = name,
                         .generation = 1,
                         .rank = 8,
                         .alpha = 16,
                         .target_modules = {"q_proj", "v_proj"},
                         .num_parameters = 12345,
                         .path = path});
    return adapters_.back();
  }
  absl::Status UnloadAdapter(const std::string& name) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t erased = std::erase_if(adapters_, [&](const AdapterInfo& adapter) { return adapter.name == name; });
    return erased > 0 ? absl::OkStatus() : absl::NotFoundError("no adapter '" + name + "'");
  }

 private:
  mutable std::mutex mutex_;
  std::vector<AdapterInfo> adapters_;
};

class FakeStatus : public StatusApi {
 public:
  EngineStatus GetStatus() const override {
    return {.model_name = "demo",
            .model_path = "models/demo",
            .backend = "cpu",
            .weight_dtype = "bf16",
            .num_parameters = 5'000'000,
            .max_context = 512,
            .running_requests = 2,
            .kv_blocks_total = 64,
            .kv_block_size = 16,
            .steps = 99};
  }
};

// All of them, as a front end gets them.
struct FakeEngine {
  static constexpr int kMaxContext = 512;
  FakeTokenizer tokenizer;
  FakeInference inference;
  FakeFineTuning fine_tuning;
  FakeAdapters adapters;
  FakeStatus status;

  ServeParts parts() {
    ServeParts parts;
    parts.model = {.tokenizer = &tokenizer,
                   .defaults = {.eos_token_ids = {2}},
                   .max_context = kMaxContext,
                   .vocab = tokenizer.vocab_size()};
    parts.inference = &inference;
    parts.fine_tuning = &fine_tuning;
    parts.adapters = &adapters;
    parts.status = &status;
    parts.random = [] { return uint64_t{4711}; };
    return parts;
  }

  // Serves them as the model "demo", from the first call on.
  ModelHost* host();

  std::unique_ptr<ModelHost> host_;
};

// One of those as a loaded model; `on_drain` is called by Drain.
class FakeModel : public LoadedModel {
 public:
  explicit FakeModel(
      FakeEngine* engine, std::function<void(absl::Duration, std::string_view)> on_drain = [](auto, auto) {})
      : engine_(engine), on_drain_(std::move(on_drain)) {}
  ServeParts parts() override { return engine_->parts(); }
  void Start() override {}
  void Drain(absl::Duration grace, std::string_view reason) override { on_drain_(grace, reason); }

 private:
  FakeEngine* const engine_;
  const std::function<void(absl::Duration, std::string_view)> on_drain_;
};

inline absl::StatusOr<ModelInfo> LoadAndWait(ModelHost& host, const ModelSource& source) {
  std::promise<absl::StatusOr<ModelInfo>> loaded;
  host.Load(source, [&](absl::StatusOr<ModelInfo> info) { loaded.set_value(std::move(info)); });
  return loaded.get_future().get();
}

inline ModelHost* FakeEngine::host() {
  if (host_ == nullptr) {
    host_ = std::make_unique<ModelHost>(
        [this](const ModelSource&, const LoadProgress&) { return std::make_unique<FakeModel>(this); },
        absl::Seconds(30));
    CHECK(LoadAndWait(*host_, {"models/demo", "demo"}).ok());
  }
  return host_.get();
}

}  // namespace tandem
