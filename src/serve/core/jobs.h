// Fine-tuning jobs as every front end offers them: optional fields in, a complete JobSpec out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "tandem/job.h"

namespace tandem {

struct InlineData {
  std::string jsonl;
};
struct DataFile {  // on the daemon's machine
  std::string path;
};

// With init_from_adapter an unset field is that adapter's.
struct PeftInput {
  std::optional<PeftMethod> method;  // default LoRA
  std::optional<int> rank;
  std::optional<double> alpha;  // default: twice the rank
  std::optional<double> dropout;
  std::optional<bool> rank_stabilized;
  std::optional<std::string> activation;
  std::vector<std::string> target_modules, feedforward_modules;
};

// What a client may say; unset fields take the defaults of tandem/job.h.
struct JobInput {
  std::string adapter;
  std::variant<std::monostate, InlineData, DataFile> data;
  std::string data_name;
  std::string init_from_adapter;
  std::optional<int> publish_every_steps;
  std::string idempotency_key;

  PeftInput peft;

  std::optional<double> epochs;
  std::optional<int> max_steps;  // not beside epochs
  std::optional<int> micro_batch, gradient_accumulation, warmup_steps, max_length;
  std::optional<double> learning_rate, weight_decay, beta1, beta2, epsilon, max_grad_norm;
  std::optional<LrSchedule> schedule;
  std::optional<LossMask> loss_mask;
  std::optional<bool> shuffle;
  std::optional<uint64_t> seed;
};

// Resolves defaults, reads the data's file, if it is one, of at most `max_data_bytes`, and refuses what a JobSpec could
// no longer tell (INVALID_ARGUMENT: field, got, want). Ranges and lines are the engine's to check. max_context: tokens;
// the default of max_length is cut to it.
absl::StatusOr<JobSpec> BuildJobSpec(JobInput input, int max_context, size_t max_data_bytes);

}  // namespace tandem
