#include "serve/grpc/generate_stream.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/wire.h"

namespace tandem {

GenerateStream* GenerateStream::Create(CallContext* shared, const grpc::CallbackServerContext& context,
                                       const grpc::ByteBuffer* request) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  const bool endless = deadline == std::chrono::system_clock::time_point::max();
  std::shared_ptr<GenerateStream> stream(
      new GenerateStream(shared, endless ? absl::InfiniteFuture() : absl::FromChrono(deadline)));
  stream->self_ = stream;
  shared->calls.Post([stream, request] { stream->Begin(*request); });
  return stream.get();
}

void GenerateStream::Begin(const grpc::ByteBuffer& bytes) {
  const absl::Status submitted = Submit(bytes);
  // From here on the engine reports the end through OnEnd; if it never took the request, the call ends now.
  if (!submitted.ok()) Finish(ToGrpc(submitted));
}

absl::Status GenerateStream::Submit(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(shared_->CheckServing());
  v1::GenerateRequest message;
  RETURN_IF_ERROR(ParseMessage(bytes, message));
  ASSIGN_OR_RETURN(GenerateRequest request, shared_->generation.Resolve(FromProto(message)));
  request.deadline = deadline_;
  seed_ = request.sampling.seed;
  const std::string id = request.request_id;
  LOG_DEBUG("{}: {} prompt tokens, at most {} more, adapter '{}', seed {}", id, request.prompt.size(),
            request.stop.max_tokens, request.adapter, seed_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return absl::CancelledError("the client cancelled");
    request_id_ = id;
  }
  RETURN_IF_ERROR(shared_->generation.Start(std::move(request), shared_from_this()));
  // A cancellation between the check above and Start found nothing to abort in the engine.
  bool gone;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone = gone_;
  }
  if (gone) shared_->generation.Abort(id);
  return absl::OkStatus();
}

void GenerateStream::OnUpdate(GenerationUpdate update) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return;
    pending_.mutable_token_ids()->Add(update.token_ids.begin(), update.token_ids.end());
    pending_.mutable_text()->append(update.text);
    pending_.mutable_usage()->set_prompt_tokens(update.usage.prompt_tokens);
    pending_.mutable_usage()->set_completion_tokens(update.usage.completion_tokens);
    has_pending_ = true;
    if (std::exchange(busy_, true)) return;
  }
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void GenerateStream::OnEnd(GenerationEnd end) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = std::move(end);
    if (std::exchange(busy_, true)) return;
  }
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void GenerateStream::PackPending() {
  pending_.set_request_id(request_id_);
  pending_.set_seed(seed_);
  out_ = ToBytes(pending_);
  pending_.Clear();
  has_pending_ = false;
}

void GenerateStream::Pump() {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool ended_well = end_.has_value() && end_->status.ok();
  if (has_pending_ && !ended_well && !gone_) {
    PackPending();
    lock.unlock();
    StartWrite(&out_);  // busy_ until OnWriteDone
    return;
  }
  if (!end_.has_value()) {
    busy_ = false;
    return;
  }
  // The last action: nothing of *this may be touched after it, and busy_ stays.
  if (!ended_well) {
    const grpc::Status status = ToGrpc(end_->status);
    lock.unlock();
    Finish(status);
    return;
  }
  pending_.mutable_text()->append(end_->text);
  pending_.set_finish_reason(ToProto(end_->reason));
  pending_.mutable_usage()->set_prompt_tokens(end_->usage.prompt_tokens);
  pending_.mutable_usage()->set_completion_tokens(end_->usage.completion_tokens);
  pending_.set_adapter_generation(end_->adapter_generation);
  PackPending();
  lock.unlock();
  StartWriteAndFinish(&out_, grpc::WriteOptions(), grpc::Status::OK);
}

void GenerateStream::OnWriteDone(bool ok) {
  if (!ok) Abort();
  Pump();
}

void GenerateStream::OnCancel() {
  Abort();
}

void GenerateStream::Abort() {
  std::string id;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = true;
    id = request_id_;
  }
  if (!id.empty()) shared_->generation.Abort(id);
}

}  // namespace tandem
