// What the front ends ask of a running engine. All calls are thread-safe and return soon; long work reports to a sink.
// Implemented by engine/engine.h; faked in the front ends' tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tandem/adapter.h"
#include "tandem/generation.h"
#include "tandem/job.h"

namespace tandem {

class InferenceApi {
 public:
  virtual ~InferenceApi() = default;
  // Queues the request. INVALID_ARGUMENT (token out of range, prompt + max_tokens over the context or the KV pool),
  // NOT_FOUND (adapter), UNAVAILABLE (draining): the sink is then never called. What shows only when the step thread
  // takes the request (RESOURCE_EXHAUSTED: too many wait; ALREADY_EXISTS: its id) is the status of its OnEnd. The sink
  // is kept until its OnEnd returned; shared because a vanished client and the step thread race for it.
  virtual absl::Status Generate(GenerateRequest request, std::shared_ptr<GenerationSink> sink) = 0;
  // Ends the request within one step with CANCELLED. Unknown ids are ignored: it may just have ended.
  virtual void Abort(const std::string& request_id) = 0;
};

class FineTuningApi {
 public:
  virtual ~FineTuningApi() = default;
  // Validates hyperparameters and every line of the data before it returns; INVALID_ARGUMENT says which field or line.
  virtual absl::StatusOr<JobInfo> CreateJob(JobSpec spec) = 0;
  virtual absl::StatusOr<JobInfo> GetJob(const std::string& id) const = 0;
  virtual std::vector<JobInfo> ListJobs() const = 0;  // oldest first
  // Replays events numbered >= first_event, then follows. The sink may be dropped with StopWatching(sink.get()).
  virtual absl::Status WatchJob(const std::string& id, int64_t first_event, std::shared_ptr<JobSink> sink) = 0;
  virtual void StopWatching(const std::string& id, const JobSink* sink) = 0;
  virtual absl::StatusOr<JobInfo> CancelJob(const std::string& id) = 0;  // FAILED_PRECONDITION once it has ended
};

class AdapterApi {
 public:
  virtual ~AdapterApi() = default;
  virtual std::vector<AdapterInfo> ListAdapters() const = 0;
  // Loads a PEFT directory of the daemon's machine as a new generation of `name`.
  virtual absl::StatusOr<AdapterInfo> LoadAdapter(const std::string& name, const std::string& path) = 0;
  // New requests no longer find it; running ones finish.
  virtual absl::Status UnloadAdapter(const std::string& name) = 0;
};

// What the scheduler does and how well it foresees it.
struct SchedulerStatus {
  std::string policy;
  int decode_rows = 0, prefill_rows = 0, training_rows = 0;  // of the last iteration
  int64_t backward_rows = 0;                                 // rows times layers, of the last iteration
  double predicted_ms = 0, measured_ms = 0;                  // of the last iteration; 0 without a cost model
  double budget_ms = 0;                   // what the latency targets left for it; 0: nothing bounded it
  double mean_error = 0, headroom = 0;    // of predictions lately, as a share of them
  double planning_us = 0;                 // what deciding took, mean
  int64_t yields = 0;                     // iterations that gave up backward units for a request that arrived
  int64_t outliers = 0;                   // iterations that took far longer than any prediction explains
  int64_t slo_requests = 0, slo_met = 0;  // ended requests that had a target; that met all of theirs
  double slo_recent = 1;                  // share that met them, of the last hundred or so
  int64_t slo_unmeetable = 0;             // requests whose target not even an idle daemon can meet
  double busy_seconds = 0;                // that iterations took, since the start
  std::string cost_model;  // where predictions come from: "guess", "profiling, 3 of 80", "profile", "file"
};

struct EngineStatus {
  std::string model_name, model_path, backend, weight_dtype;
  int64_t num_parameters = 0;
  int max_context = 0;  // tokens
  int running_requests = 0, waiting_requests = 0;
  int running_jobs = 0, queued_jobs = 0;
  int kv_blocks_used = 0, kv_blocks_total = 0, kv_block_size = 0;
  int kv_blocks_cached = 0;          // unused, but hold a prefix that can be found
  int64_t cached_prompt_tokens = 0;  // of prompts: found in the prefix cache
  int64_t drafted_tokens = 0;        // guessed by prompt lookup and looked at by the model
  int64_t accepted_tokens = 0;       // of these: were right
  int64_t preemptions = 0;           // requests that had to give their blocks back
  int64_t training_preemptions = 0;  // samples that had to give theirs to requests
  int64_t steps = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0, trained_tokens = 0;     // since the start
  double inference_tokens_per_second = 0, training_tokens_per_second = 0;  // over the last seconds
  double last_step_ms = 0;
  absl::Time started;
  bool draining = false;
  SchedulerStatus scheduler;
};

class StatusApi {
 public:
  virtual ~StatusApi() = default;
  virtual EngineStatus GetStatus() const = 0;
};

}  // namespace tandem
