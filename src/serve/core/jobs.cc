#include "serve/core/jobs.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "adapter/adapter_weights.h"
#include "base/file.h"
#include "base/status.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr size_t kMaxKeyBytes = 256;

absl::Status CheckMeaning(const PeftInput& peft) {
  if (peft.rank.has_value()) {
    const bool bottleneck = peft.method == PeftMethod::kBottleneck;
    RETURN_IF_ERROR(CheckRange(bottleneck ? "bottleneck.width" : "lora.rank", *peft.rank, 1, kMaxRank));
  }
  if (peft.alpha == 0.0) return absl::InvalidArgumentError("lora.alpha is 0, want more than 0");
  if (peft.dropout.value_or(0) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("lora.dropout is ", *peft.dropout, ", want 0: Tandem trains without dropout"));
  }
  return absl::OkStatus();
}

// In a JobSpec a rank or alpha of 0 stands for that of init_from_adapter, max_steps of 0 for epochs: a client that says
// 0 means neither.
absl::Status CheckMeaning(const JobInput& input) {
  if (input.epochs.has_value() && input.max_steps.has_value()) {
    return absl::InvalidArgumentError("epochs and max_steps are both set, want one of them");
  }
  if (input.max_steps.has_value()) RETURN_IF_ERROR(CheckRange("max_steps", *input.max_steps, 1, kMaxInt));
  RETURN_IF_ERROR(CheckMeaning(input.peft));
  if (input.idempotency_key.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("idempotency_key has ", input.idempotency_key.size(), " bytes, want at most ", kMaxKeyBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<PeftOptions> BuildPeft(PeftInput& input, bool inherits) {
  PeftOptions peft;
  if (input.method.has_value() || inherits) peft.method = input.method;
  peft.rank = input.rank.value_or(inherits ? 0 : peft.rank);
  peft.alpha = input.alpha.value_or(inherits ? 0 : 2.0 * peft.rank);
  peft.rank_stabilized = input.rank_stabilized;
  peft.target_modules = std::move(input.target_modules);
  peft.feedforward_modules = std::move(input.feedforward_modules);
  if (input.activation.has_value()) {
    peft.activation = ParseActivation(*input.activation);
    if (!peft.activation.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("bottleneck.activation is '", absl::CHexEscape(*input.activation),
                                                     "', want ", std::string(kActivationNames)));
    }
  }
  return peft;
}

Hyperparameters BuildHyperparameters(const JobInput& input, int max_context) {
  Hyperparameters h;
  h.max_steps = input.max_steps.value_or(h.max_steps);
  h.epochs = input.epochs.value_or(h.epochs);
  h.micro_batch = input.micro_batch.value_or(h.micro_batch);
  h.gradient_accumulation = input.gradient_accumulation.value_or(h.gradient_accumulation);
  h.learning_rate = input.learning_rate.value_or(h.learning_rate);
  h.schedule = input.schedule.value_or(h.schedule);
  h.warmup_steps = input.warmup_steps.value_or(h.warmup_steps);
  h.weight_decay = input.weight_decay.value_or(h.weight_decay);
  h.beta1 = input.beta1.value_or(h.beta1);
  h.beta2 = input.beta2.value_or(h.beta2);
  h.epsilon = input.epsilon.value_or(h.epsilon);
  h.max_grad_norm = input.max_grad_norm.value_or(h.max_grad_norm);
  h.max_length = input.max_length.value_or(std::min(h.max_length, max_context));
  h.loss_mask = input.loss_mask.value_or(h.loss_mask);
  h.shuffle = input.shuffle.value_or(h.shuffle);
  h.seed = input.seed.value_or(h.seed);
  return h;
}

std::string LastPart(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

absl::Status FillData(JobInput& input, size_t max_data_bytes, JobSpec& spec) {
  spec.data_name = std::move(input.data_name);
  if (auto* lines = std::get_if<InlineData>(&input.data)) {
    spec.data = std::move(lines->jsonl);
    if (spec.data_name.empty()) spec.data_name = "data";
    return absl::OkStatus();
  }
  const auto* file = std::get_if<DataFile>(&input.data);
  if (file == nullptr) return absl::InvalidArgumentError("data is missing, want jsonl or path");
  if (file->path.empty()) return absl::InvalidArgumentError("data.path is empty, want a file on the daemon's machine");
  absl::StatusOr<std::string> contents = ReadFile(file->path, max_data_bytes);
  if (!contents.ok()) return Annotate(contents.status(), "data.path");
  spec.data = *std::move(contents);
  if (spec.data_name.empty()) spec.data_name = LastPart(file->path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobSpec> BuildJobSpec(JobInput input, int max_context, size_t max_data_bytes) {
  RETURN_IF_ERROR(CheckMeaning(input));
  JobSpec spec;
  ASSIGN_OR_RETURN(spec.peft, BuildPeft(input.peft, !input.init_from_adapter.empty()));
  spec.hyperparameters = BuildHyperparameters(input, max_context);
  spec.publish_every_steps = input.publish_every_steps.value_or(spec.publish_every_steps);
  RETURN_IF_ERROR(FillData(input, max_data_bytes, spec));
  spec.adapter_name = std::move(input.adapter);
  spec.init_from_adapter = std::move(input.init_from_adapter);
  spec.idempotency_key = std::move(input.idempotency_key);
  return spec;
}

}  // namespace tandem
