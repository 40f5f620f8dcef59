// Between the wire's messages and Tandem's own plain data. Values are carried over, not judged: serve/core does that.
#pragma once

#include "absl/status/statusor.h"
#include "serve/core/generation.h"
#include "serve/core/jobs.h"
#include "serve/core/model_host.h"
#include "tandem/adapter.h"
#include "tandem/api.h"
#include "tandem/job.h"
#include "tandem/v1/adapters.pb.h"
#include "tandem/v1/daemon.pb.h"
#include "tandem/v1/finetuning.pb.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/models.pb.h"

namespace tandem {

// All take the request apart: its strings and lists are moved out.
GenerationInput FromProto(v1::GenerateRequest& request);
// INVALID_ARGUMENT: a pooling that there is not.
absl::StatusOr<EmbeddingInput> FromProto(v1::EmbedRequest& request);
Prompt FromProto(v1::TokenizeRequest& request);
// INVALID_ARGUMENT for an enum's number that this daemon does not know.
absl::StatusOr<JobInput> FromProto(v1::CreateJobRequest& request);

v1::Job ToProto(const JobInfo& job);
v1::JobEvent ToProto(const JobEvent& event);
v1::Adapter ToProto(const AdapterInfo& adapter);
v1::DaemonStatus ToProto(const EngineStatus& status);
v1::Model ToProto(const ModelInfo& model);
v1::FinishReason ToProto(FinishReason reason);
void FillUsage(const Usage& usage, v1::Usage& proto);
bool IsSet(absl::Time time);  // neither the epoch nor an infinity: those stay unset on the wire
void FillTimestamp(absl::Time time, google::protobuf::Timestamp* proto);
// With the tokens' text and bytes.
v1::TokenLogprobs ToProto(const TokenLogprobs& logprobs, const Tokenizer& tokenizer);

}  // namespace tandem
