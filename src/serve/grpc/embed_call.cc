#include "serve/grpc/embed_call.h"

#include "base/log.h"
#include "base/status.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/wire.h"
#include "tandem/v1/inference.pb.h"

namespace tandem {

EmbedCall* EmbedCall::Create(CallContext* shared, const grpc::CallbackServerContext& context,
                             const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  const bool endless = deadline == std::chrono::system_clock::time_point::max();
  std::shared_ptr<EmbedCall> call(new EmbedCall(shared, shared->Authorize(context),
                                                endless ? absl::InfiniteFuture() : absl::FromChrono(deadline), out));
  call->self_ = call;
  shared->calls.Post([call, in] {
    const absl::Status begun = call->Begin(*in);
    if (begun.ok()) return;  // the last of its requests brings the end
    LOG_DEBUG("{}: refused: {}", call->shown_id_.empty() ? "embed" : call->shown_id_, begun.ToString());
    call->Finish(ToGrpc(begun));
  });
  return call.get();
}

absl::Status EmbedCall::Begin(const grpc::ByteBuffer& in) {
  RETURN_IF_ERROR(caller_.status());
  RETURN_IF_ERROR(shared_->CheckServing());
  v1::EmbedRequest message;
  RETURN_IF_ERROR(ParseMessage(in, message));
  const bool normalize = !message.has_normalize() || message.normalize();
  ASSIGN_OR_RETURN(const EmbeddingInput input, FromProto(message));
  ASSIGN_OR_RETURN(const ModelLease model, shared_->models.Lease());
  ASSIGN_OR_RETURN(std::vector<GenerateRequest> requests, model->generation.ResolveEmbedding(input));
  shown_id_ = requests[0].request_id.substr(0, requests[0].request_id.rfind('#'));
  const auto gatherer = std::make_shared<EmbeddingGatherer>(
      requests.size(), normalize ? Normalization::kUnitLength : Normalization::kNone,
      [call = shared_from_this()](absl::StatusOr<EmbeddingResult> result) {
        call->shared_->writes.Post([call, result = std::move(result)] { call->End(result); });
      });
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failed_) return absl::CancelledError("the client cancelled");
    gatherer_ = gatherer;
    model_ = model;
  }
  LOG_DEBUG("{}: {} inputs, adapter '{}'", ScopedRequestId(*caller_, shown_id_), requests.size(), input.adapter);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].request_id = ScopedRequestId(*caller_, requests[i].request_id);
    requests[i].deadline = deadline_;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ids_.push_back(requests[i].request_id);
    }
    const absl::Status started = model->generation.Start(std::move(requests[i]), gatherer->Sink(i));
    if (!started.ok()) {
      gatherer->Fail(Annotate(started, absl::StrCat("inputs[", i, "]")));
      break;
    }
    bool failed;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      failed = failed_;
    }
    if (!failed) continue;
    Abort(*model);  // End may have come too early for this one
    break;
  }
  return absl::OkStatus();
}

void EmbedCall::End(const absl::StatusOr<EmbeddingResult>& result) {
  LOG_DEBUG("{}: ended: {}", ScopedRequestId(*caller_, shown_id_), result.status().ToString());
  ModelLease model;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = !result.ok();
    model = std::exchange(model_, nullptr);
  }
  if (!result.ok()) {
    Abort(*model);
    model.reset();
    Finish(ToGrpc(result.status()));
    return;
  }
  model.reset();
  v1::EmbedResponse response;
  for (size_t i = 0; i < result->embeddings.size(); ++i) {
    v1::Embedding& embedding = *response.add_embeddings();
    embedding.mutable_values()->Add(result->embeddings[i].begin(), result->embeddings[i].end());
    embedding.set_tokens(result->tokens[i]);
  }
  FillUsage(result->usage, *response.mutable_usage());
  response.set_adapter_generation(result->adapter_generation);
  response.set_request_id(shown_id_);
  *out_ = ToBytes(response);
  Finish(grpc::Status::OK);
}

void EmbedCall::OnCancel() {
  std::shared_ptr<EmbeddingGatherer> gatherer;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = true;
    gatherer = gatherer_;
  }
  if (gatherer != nullptr) gatherer->Fail(absl::CancelledError("the client cancelled"));
}

void EmbedCall::Abort(ServedModel& model) {
  std::vector<std::string> ids;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ids = ids_;
  }
  for (const std::string& id : ids) model.generation.Abort(id);
}

}  // namespace tandem
