#include "training/prepare.h"

#include <algorithm>
#include <string>
#include <tuple>
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

// What is asked for beside init_from_adapter must be what that adapter is.
absl::Status CheckSame(const JobSpec& spec, const PeftSpec& initial) {
  const PeftOptions& asked = spec.peft;
  const std::string field(FieldOf(asked.method.value_or(initial.method)));
  const auto refuse = [&](const std::string& what, const std::string& got, const std::string& want) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " is ", got, ", but adapter '", spec.init_from_adapter, "' has ", want, "; leave it unset"));
  };
  if (asked.method.has_value() && *asked.method != initial.method) {
    return refuse("peft", std::string(Name(*asked.method)), std::string(Name(initial.method)));
  }
  if (asked.rank != 0 && asked.rank != initial.rank) {
    return refuse(field + ".rank", absl::StrCat(asked.rank), absl::StrCat(initial.rank));
  }
  if (asked.alpha != 0 && asked.alpha != initial.alpha) {
    return refuse(field + ".alpha", absl::StrCat(asked.alpha), absl::StrCat(initial.alpha));
  }
  const bool stabilized = initial.scaling == LoraScaling::kRankStabilized;
  if (asked.rank_stabilized.value_or(stabilized) != stabilized) {
    return refuse(field + ".use_rslora", stabilized ? "false" : "true", stabilized ? "true" : "false");
  }
  if (asked.activation.value_or(initial.activation) != initial.activation) {
    return refuse(field + ".activation", std::string(NameOf(*asked.activation)),
                  std::string(NameOf(initial.activation)));
  }
  for (const auto& [what, modules, kinds] :
       {std::tuple{"target_modules", &asked.target_modules, &initial.targets},
        {"feedforward_modules", &asked.feedforward_modules, &initial.feedforward}}) {
    if (modules->empty()) continue;
    ASSIGN_OR_RETURN(const auto named, ParseTargetModules(*modules, initial.names, initial.method));
    if (named != *kinds) {
      return refuse(absl::StrCat(field, ".", what), NamesOf(named, initial.names), NamesOf(*kinds, initial.names));
    }
  }
  return absl::OkStatus();
}

// What to lower where an adapter takes too much.
std::string RankField(PeftMethod method) {
  return absl::StrCat(std::string(FieldOf(method)), method == PeftMethod::kBottleneck ? ".width" : ".rank");
}

// Before its memory is taken.
absl::Status CheckAdapterFits(const PeftSpec& peft, const LinearShapes& shapes, int64_t max_job_bytes) {
  const int64_t bytes = AdapterBytes(peft, shapes);
  if (max_job_bytes <= 0 || bytes <= max_job_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("an adapter of rank ", peft.rank, " takes ", InMib(bytes),
                                                   " to train, want at most ", InMib(max_job_bytes), "; lower ",
                                                   RankField(peft.method)));
}

absl::StatusOr<AdapterWeights> InitialWeights(const JobSpec& spec, const AdapterStore& adapters,
                                              int64_t max_job_bytes) {
  if (spec.init_from_adapter.empty()) {
    ASSIGN_OR_RETURN(PeftSpec peft, MakePeftSpec(spec.peft, adapters.shapes().names));
    RETURN_IF_ERROR(CheckAdapterFits(peft, adapters.shapes(), max_job_bytes));
    AdapterWeights weights(std::move(peft), adapters.shapes());
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
  absl::StatusOr<AdapterWeights> weights = ReadPeftAdapter(path, adapters.shapes());
  if (!weights.ok()) return Annotate(weights.status(), "init_from_adapter");
  RETURN_IF_ERROR(CheckSame(spec, weights->spec()));
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
  const PeftSpec& peft = job.weights.spec();
  const int64_t tapes = SamplesInFlight(job.spec.hyperparameters, job.dataset) *
                        TapeBytes(*context.desc, context.activations, rows, peft);
  const int64_t adapter = AdapterBytes(peft, context.adapters->shapes());
  if (context.max_job_bytes > 0 && tapes + adapter > context.max_job_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the job takes ", InMib(tapes), " for activations of samples up to ", rows, " rows and ", InMib(adapter),
        " for the adapter, want at most ", InMib(context.max_job_bytes), "; lower hyperparameters.max_length",
        peft.has_pair() ? absl::StrCat(" or ", RankField(peft.method)) : ""));
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

int64_t AdapterBytes(const PeftSpec& peft, const LinearShapes& shapes) {
  constexpr int64_t kCopies = 5;  // parameters, gradients, m, v, working copy
  int64_t elements = 0;
  for (const LinearKind kind : peft.targets) {
    const PeftSpec::Shapes of = peft.ShapesOf(kind, shapes[kind]);
    elements += kCopies * of.num_elements();
    // DoRA's working copy has A and B a second time, for the norms, and these.
    if (peft.method == PeftMethod::kDora) elements += of.num_elements();
  }
  return shapes.num_layers * elements * static_cast<int64_t>(sizeof(float));
}

int64_t TapeBytes(const ModelDesc& desc, DType activations, int max_rows, const PeftSpec& peft) {
  return static_cast<int64_t>(Tape::BytesFor(desc, activations, max_rows, peft.targets_that_read_output()));
}

}  // namespace tandem
