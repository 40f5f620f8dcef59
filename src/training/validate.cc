#include "training/validate.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "adapter/adapter_store.h"
#include "adapter/adapter_weights.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr size_t kMaxDataNameBytes = 200;  // it stands in every message about a line

// Absurd beyond these, for any model: they catch slips such as a lost decimal point.
constexpr int kMaxBatch = 1 << 16;
constexpr double kMaxEpochs = 1e6;
constexpr double kMaxLearningRate = 10;

absl::Status Refuse(const std::string& name, const std::string& got, const std::string& want) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", got, ", want ", want));
}

// NaN is in no range.
absl::Status InRange(const std::string& name, double value, double low, double high, const std::string& want) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(name, absl::StrCat(value), want);
}

absl::Status Above(const std::string& name, double value, double low, double high) {
  if (value > low && value <= high) return absl::OkStatus();
  const bool bounded = high < std::numeric_limits<double>::max();
  return Refuse(name, absl::StrCat(value),
                bounded ? absl::StrCat("above ", low, ", at most ", high) : absl::StrCat("finite and above ", low));
}

absl::Status AtLeast(const std::string& name, double value, double low) {
  return InRange(name, value, low, std::numeric_limits<double>::max(), absl::StrCat("finite and at least ", low));
}

absl::Status Between(const std::string& name, int value, int low, int high) {
  return InRange(name, value, low, high, absl::StrCat(low, " to ", high));
}

absl::Status ValidatePeft(const JobSpec& spec, const LinearNames& linears) {
  PeftOptions options = spec.peft;
  const bool inherits = !spec.init_from_adapter.empty();
  if (inherits && options.rank == 0) options.rank = 1;
  if (inherits && options.alpha == 0) options.alpha = 1;
  const PeftMethod method = options.method.value_or(PeftMethod::kLora);
  return Annotate(MakePeftSpec(options, linears).status(), FieldOf(method));
}

absl::Status ValidateHyperparameters(const Hyperparameters& h, int max_context) {
  if (h.max_steps == 0) RETURN_IF_ERROR(Above("hyperparameters.epochs", h.epochs, 0, kMaxEpochs));
  RETURN_IF_ERROR(AtLeast("hyperparameters.max_steps", h.max_steps, 0));
  RETURN_IF_ERROR(Between("hyperparameters.micro_batch", h.micro_batch, 1, kMaxBatch));
  RETURN_IF_ERROR(Between("hyperparameters.gradient_accumulation", h.gradient_accumulation, 1, kMaxBatch));
  RETURN_IF_ERROR(Above("hyperparameters.learning_rate", h.learning_rate, 0, kMaxLearningRate));
  RETURN_IF_ERROR(AtLeast("hyperparameters.warmup_steps", h.warmup_steps, 0));
  RETURN_IF_ERROR(AtLeast("hyperparameters.weight_decay", h.weight_decay, 0));
  // A decay of 1 or more would turn parameters around each step.
  if (h.weight_decay * h.learning_rate >= 1) {
    return Refuse("hyperparameters.weight_decay", absl::StrCat(h.weight_decay), "below 1 / learning_rate");
  }
  // The optimizer reckons in fp32: closer to 1 a beta would be 1, smaller an epsilon would be 0.
  RETURN_IF_ERROR(InRange("hyperparameters.beta1", h.beta1, 0, 0.999999, "0 to 0.999999"));
  RETURN_IF_ERROR(InRange("hyperparameters.beta2", h.beta2, 0, 0.999999, "0 to 0.999999"));
  RETURN_IF_ERROR(InRange("hyperparameters.epsilon", h.epsilon, 1e-30, 1, "1e-30 to 1"));
  RETURN_IF_ERROR(AtLeast("hyperparameters.max_grad_norm", h.max_grad_norm, 0));
  return Between("hyperparameters.max_length", h.max_length, 2, max_context);
}

}  // namespace

absl::Status ValidateJobSpec(const JobSpec& spec, int max_context, const LinearNames& linears) {
  RETURN_IF_ERROR(CheckAdapterName(spec.adapter_name));
  if (spec.data.empty()) return Refuse("data", "empty", "lines of JSON");
  if (spec.data_name.size() > kMaxDataNameBytes) {
    return Refuse("data_name", absl::StrCat(spec.data_name.size(), " bytes long"),
                  absl::StrCat("at most ", kMaxDataNameBytes));
  }
  if (!spec.init_from_adapter.empty()) {
    RETURN_IF_ERROR(Annotate(CheckAdapterName(spec.init_from_adapter), "init_from_adapter"));
  }
  RETURN_IF_ERROR(ValidatePeft(spec, linears));
  RETURN_IF_ERROR(ValidateHyperparameters(spec.hyperparameters, max_context));
  return AtLeast("publish_every_steps", spec.publish_every_steps, 0);
}

}  // namespace tandem
