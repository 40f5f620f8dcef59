// A fine-tuning job as plain data: what is asked, where it stands, what it reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tandem {

struct LoraConfig {
  int rank = 16;
  double alpha = 32;                        // the bypass is scaled by alpha / rank
  std::vector<std::string> target_modules;  // "q_proj", ... ; {"all-linear"} or empty: every linear of a layer
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
  std::string init_from_adapter;  // "": fresh (A Kaiming-uniform, B zero)
  LoraConfig lora;
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
