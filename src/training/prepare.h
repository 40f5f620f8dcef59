// From what a client asks to a job that can run: everything that may be refused, and everything slow, on the client's
// thread.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "adapter/adapter_store.h"
#include "adapter/adapter_weights.h"
#include "model/description.h"
#include "tandem/job.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "training/dataset.h"

namespace tandem {

// What jobs are checked against. Borrowed; read from any thread.
struct PrepareContext {
  const ModelDesc* desc = nullptr;
  DType activations = DType::kF32;  // the model's
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null where the model has none
  std::optional<int32_t> end_token;             // closes prompt + completion and text samples
  const AdapterStore* adapters = nullptr;
  int max_context = 0;        // tokens of a sequence
  int max_blocks = 0;         // KV blocks that one sample may hold
  int block_size = 0;         // tokens of a block
  int64_t max_job_bytes = 0;  // memory of the device that one job may take; 0: no limit
};

struct PreparedJob {
  JobSpec spec;  // without its data
  Dataset dataset;
  AdapterWeights weights;  // to start from
};

// INVALID_ARGUMENT for a field or a line of the data, NOT_FOUND for init_from_adapter, FAILED_PRECONDITION where that
// adapter is not on disk, RESOURCE_EXHAUSTED with the figures where the longest sample does not fit.
absl::StatusOr<PreparedJob> PrepareJob(JobSpec spec, const PrepareContext& context);

// What the registry says of it at first.
JobInfo InfoOf(const PreparedJob& job);

// Samples that a job keeps in flight, each with a tape: two where a step has more than one.
int SamplesInFlight(const Hyperparameters& h, const Dataset& dataset);

// What a running job takes: parameters, gradients, two moments and the working copy; and each sample in flight a tape.
int64_t AdapterBytes(const PeftSpec& peft, const LinearShapes& shapes);
int64_t TapeBytes(const ModelDesc& desc, DType activations, int max_rows, const PeftSpec& peft);

}  // namespace tandem
