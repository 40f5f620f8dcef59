// A fine-tuning job as plain data: what is asked, where it stands, what it reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tandem/adapter.h"
#include "tandem/op_args.h"

namespace tandem {

// What a job trains. Which fields count depends on the method. With init_from_adapter a method, rank, alpha or option
// that is none or 0 is that adapter's.
struct PeftOptions {
  std::optional<PeftMethod> method = PeftMethod::kLora;
  int rank = 16;                             // LoRA, DoRA; of a bottleneck its width
  double alpha = 32;                         // LoRA, DoRA: the bypass is scaled by alpha / rank
  std::optional<bool> rank_stabilized = {};  // LoRA, DoRA: by alpha / sqrt(rank) instead
  std::vector<std::string> target_modules;   // "q_proj", ... ; {"all-linear"}; none: the method's own (PeftMethod)
  // IA3: those of the target modules whose input is scaled instead of their output; none: "down_proj" if it is one.
  std::vector<std::string> feedforward_modules;
  std::optional<Activation> activation = {};  // of a bottleneck; SiLU unless told otherwise
};

enum class LrSchedule { kConstant, kLinear, kCosine };  // after warm-up; linear and cosine end at 0
enum class LossMask { kAll, kCompletion, kAssistant };  // which tokens are learned

struct Hyperparameters {
  double epochs = 3;              // used where max_steps is 0
  int max_steps = 0;              // optimizer steps
  int micro_batch = 1;            // samples per micro batch
  int gradient_accumulation = 1;  // micro batches per optimizer step
  double learning_rate = 2e-4;
  LrSchedule schedule = LrSchedule::kCosine;
  int warmup_steps = 0;
  double weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  int max_length = 1024;       // tokens of a sample; longer ones are cut at the end
  LossMask loss_mask = LossMask::kCompletion;
  bool shuffle = true;
  uint64_t seed = 0;  // adapter initialisation and shuffling
};

struct JobSpec {
  std::string adapter_name;       // the adapter that the job publishes
  std::string data;               // JSONL: one {"messages"}, {"prompt","completion"} or {"text"} a line
  std::string data_name;          // for messages: "train.jsonl"
  std::string init_from_adapter;  // "": fresh, and changing nothing yet
  PeftOptions peft;
  Hyperparameters hyperparameters;
  int publish_every_steps = 0;  // 0: at the end only
  std::string idempotency_key;  // a second CreateJob with the same key returns the first job
};

enum class JobState {
  kValidating,
  kQueued,
  kRunning,
  kPaused,
  kPreempted,
  kCancelling,
  kSucceeded,
  kFailed,
  kCancelled
};

inline bool IsFinal(JobState s) {
  return s == JobState::kSucceeded || s == JobState::kFailed || s == JobState::kCancelled;
}

struct JobInfo {
  std::string id;
  std::string adapter_name;
  JobState state = JobState::kQueued;
  absl::Status error;  // why it failed
  int step = 0, total_steps = 0;
  double epoch = 0;
  double loss = 0;             // of the last optimizer step, mean over learned tokens
  int64_t trained_tokens = 0;  // rows that went through forward and backward
  int64_t num_samples = 0;
  int64_t dataset_tokens = 0, dataset_learned_tokens = 0;
  int num_truncated_samples = 0;
  int adapter_generation = 0;    // last published; 0: none yet
  double tokens_per_second = 0;  // over the last seconds
  absl::Time created, started, finished;
};

enum class JobEventKind { kStateChanged, kStep, kPublished, kMessage };

// Events of a job are numbered from 1; WatchJob replays from any number.
struct JobEvent {
  int64_t number = 0;
  absl::Time time;
  JobEventKind kind = JobEventKind::kMessage;
  JobState state = JobState::kQueued;  // of the job after the event
  // kStep:
  int step = 0;
  double loss = 0, learning_rate = 0, gradient_norm = 0;
  int64_t tokens = 0;  // of this step
  double tokens_per_second = 0;
  int adapter_generation = 0;  // kPublished
  std::string message;
};

// A watcher's mailbox. Called on the step thread or the caller's: must not block. OnEnd once, last, after the final
// event.
class JobSink {
 public:
  virtual ~JobSink() = default;
  virtual void OnEvent(const JobEvent& event) = 0;
  virtual void OnEnd() = 0;
};

}  // namespace tandem
