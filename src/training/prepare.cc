#include "training/prepare.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "adapter/peft_files.h"
#include "base/status.h"
#include "model/tape.h"
#include "training/schedule.h"
#include "training/validate.h"

namespace tandem {
namespace {

std::string NamesOf(const std::vector<LinearKind>& kinds, const LinearNames& names) {
  return absl::StrJoin(kinds, ", ", [&](std::string* out, LinearKind kind) { out->append(names.Name(kind)); });
}

std::string InMib(int64_t bytes) {
  return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB");
}

absl::Status CheckSameShape(const JobSpec& spec, const LoraSpec& initial) {
  const LoraConfig& asked = spec.lora;
  const auto refuse = [&](const std::string& what, const std::string& got, const std::string& want) {
    return absl::InvalidArgumentError(absl::StrCat("lora.", what, " is ", got, ", but adapter '",
                                                   spec.init_from_adapter, "' has ", want, "; leave it unset"));
  };
  if (asked.rank != 0 && asked.rank != initial.rank) {
    return refuse("rank", absl::StrCat(asked.rank), absl::StrCat(initial.rank));
  }
  if (asked.alpha != 0 && asked.alpha != initial.alpha) {
    return refuse("alpha", absl::StrCat(asked.alpha), absl::StrCat(initial.alpha));
  }
  if (asked.target_modules.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<LinearKind> targets, ParseTargetModules(asked.target_modules, initial.names));
  if (targets != initial.targets)
    return refuse("target_modules", NamesOf(targets, initial.names), NamesOf(initial.targets, initial.names));
  return absl::OkStatus();
}

// Before its memory is taken.
absl::Status CheckAdapterFits(const LoraSpec& lora, const LinearShapes& shapes, int64_t max_job_bytes) {
  const int64_t bytes = AdapterBytes(lora, shapes);
  if (max_job_bytes <= 0 || bytes <= max_job_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("an adapter of rank ", lora.rank, " takes ", InMib(bytes),
                                                   " to train, want at most ", InMib(max_job_bytes),
                                                   "; lower lora.rank"));
}

absl::StatusOr<LoraWeights> InitialWeights(const JobSpec& spec, const AdapterStore& adapters, int64_t max_job_bytes) {
  if (spec.init_from_adapter.empty()) {
    ASSIGN_OR_RETURN(LoraSpec lora, MakeLoraSpec(spec.lora, adapters.shapes().names));
    RETURN_IF_ERROR(CheckAdapterFits(lora, adapters.shapes(), max_job_bytes));
    LoraWeights weights(std::move(lora), adapters.shapes());
    weights.Initialize(spec.hyperparameters.seed);
    return weights;
  }
  const absl::StatusOr<AdapterLease> adapter = adapters.Acquire(spec.init_from_adapter);
  if (!adapter.ok()) return Annotate(adapter.status(), "init_from_adapter");
  const std::string& path = (*adapter)->info().path;
  if (path.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("init_from_adapter: adapter '", spec.init_from_adapter, "' has no files"));
  }
  absl::StatusOr<LoraWeights> weights = ReadPeftAdapter(path, adapters.shapes());
  if (!weights.ok()) return Annotate(weights.status(), "init_from_adapter");
  RETURN_IF_ERROR(CheckSameShape(spec, weights->spec()));
  return weights;
}

absl::Status CheckFits(const PreparedJob& job, const PrepareContext& context) {
  const int rows = job.dataset.max_rows;
  const int blocks = (rows + context.block_size - 1) / context.block_size;
  if (blocks > context.max_blocks) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the longest sample has ", rows, " rows and needs ", blocks, " KV blocks of ", context.block_size,
                     " tokens, but training may hold ", context.max_blocks, "; lower hyperparameters.max_length to ",
                     static_cast<int64_t>(context.max_blocks) * context.block_size));
  }
  const int64_t tapes =
      TapeBytes(*context.desc, context.activations, rows, SamplesInFlight(job.spec.hyperparameters, job.dataset));
  const int64_t adapter = AdapterBytes(job.weights.spec(), context.adapters->shapes());
  if (context.max_job_bytes > 0 && tapes + adapter > context.max_job_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the job takes ", InMib(tapes), " for activations of samples up to ", rows, " rows and ",
                     InMib(adapter), " for the adapter, want at most ", InMib(context.max_job_bytes),
                     "; lower hyperparameters.max_length or lora.rank"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreparedJob> PrepareJob(JobSpec spec, const PrepareContext& context) {
  RETURN_IF_ERROR(ValidateJobSpec(spec, context.max_context, context.adapters->shapes().names));
  PreparedJob job;
  ASSIGN_OR_RETURN(job.weights, InitialWeights(spec, *context.adapters, context.max_job_bytes));
  const std::string data = std::move(spec.data);
  spec.data.clear();
  ASSIGN_OR_RETURN(job.dataset, LoadDataset(data, *context.tokenizer, context.chat_template,
                                            {.name = spec.data_name.empty() ? "data" : spec.data_name,
                                             .end_token = context.end_token,
                                             .loss_mask = spec.hyperparameters.loss_mask,
                                             .max_length = spec.hyperparameters.max_length}));
  job.spec = std::move(spec);
  RETURN_IF_ERROR(CheckFits(job, context));
  return job;
}

JobInfo InfoOf(const PreparedJob& job) {
  JobInfo info;
  info.adapter_name = job.spec.adapter_name;
  info.num_samples = static_cast<int64_t>(job.dataset.samples.size());
  info.total_steps = Schedule(job.spec.hyperparameters, info.num_samples).total_steps();
  info.dataset_tokens = job.dataset.num_tokens;
  info.dataset_learned_tokens = job.dataset.num_learned;
  info.num_truncated_samples = job.dataset.num_truncated;
  return info;
}

int SamplesInFlight(const Hyperparameters& h, const Dataset& dataset) {
  const int64_t samples = int64_t{h.micro_batch} * h.gradient_accumulation;
  return samples > 1 && dataset.samples.size() > 1 ? 2 : 1;
}

int64_t AdapterBytes(const LoraSpec& lora, const LinearShapes& shapes) {
  constexpr int64_t kCopies = 5;  // parameters, gradients, m, v, working copy
  int64_t columns = 0;
  for (const LinearKind kind : lora.targets) columns += shapes[kind].in + shapes[kind].out;
  return kCopies * shapes.num_layers * lora.rank * columns * static_cast<int64_t>(sizeof(float));
}

int64_t TapeBytes(const ModelDesc& desc, DType activations, int max_rows, int samples_in_flight) {
  return static_cast<int64_t>(Tape::BytesFor(desc, activations, max_rows)) * samples_in_flight;
}

}  // namespace tandem
