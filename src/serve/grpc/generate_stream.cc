#include "serve/grpc/generate_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/wire.h"

namespace tandem {
namespace {

// Of text in one message: far below the 4 MB that gRPC's clients take by default.
constexpr size_t kMaxMessageBytes = 64 << 10;

}  // namespace

GenerateStream* GenerateStream::Create(CallContext* shared, const grpc::CallbackServerContext& context,
                                       const grpc::ByteBuffer* request) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  const bool endless = deadline == std::chrono::system_clock::time_point::max();
  std::shared_ptr<GenerateStream> stream(new GenerateStream(
      shared, shared->Authorize(context), endless ? absl::InfiniteFuture() : absl::FromChrono(deadline)));
  stream->self_ = stream;
  shared->calls.Post([stream, request] { stream->Begin(*request); });
  return stream.get();
}

void GenerateStream::Begin(const grpc::ByteBuffer& bytes) {
  const absl::Status submitted = Submit(bytes);
  // From here on the engine reports the end through OnEnd; if it never took the request, the call ends now.
  if (submitted.ok()) return;
  LOG_DEBUG("{}: refused: {}", shown_id_.empty() ? "generate" : ScopedRequestId(*caller_, shown_id_),
            submitted.ToString());
  Finish(ToGrpc(submitted));
}

absl::Status GenerateStream::Submit(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(caller_.status());
  RETURN_IF_ERROR(shared_->CheckServing());
  v1::GenerateRequest message;
  RETURN_IF_ERROR(ParseMessage(bytes, message));
  ASSIGN_OR_RETURN(const ModelLease model, shared_->models.Lease());
  ASSIGN_OR_RETURN(GenerateRequest request, model->generation.Resolve(FromProto(message)));
  request.deadline = deadline_;
  seed_ = request.sampling.seed;
  shown_id_ = request.request_id;
  const std::string id = ScopedRequestId(*caller_, shown_id_);
  request.request_id = id;
  LOG_DEBUG("{}: {} prompt tokens, at most {} more, adapter '{}', seed {}", id, request.prompt.size(),
            request.stop.max_tokens, request.adapter, seed_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return absl::CancelledError("the client cancelled");
    model_ = model;
  }
  const absl::Status started = model->generation.Start(std::move(request), shared_from_this());
  bool gone;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!started.ok()) {
      model_.reset();
      return started;
    }
    // Not before: a request that is refused may have the id of one that runs, and must not abort it.
    request_id_ = id;
    gone = gone_;
  }
  if (gone) model->generation.Abort(id);  // the cancellation came too early to do it
  return absl::OkStatus();
}

void GenerateStream::OnUpdate(GenerationUpdate update) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return;
    for (TokenLogprobs& logprobs : update.prompt_logprobs) {
      Open(update.index).prompt_logprobs.push_back(std::move(logprobs));
    }
    Pending& pending = Open(update.index);
    std::move(update.logprobs.begin(), update.logprobs.end(), std::back_inserter(pending.logprobs));
    v1::GenerateResponse& message = pending.message;
    message.mutable_token_ids()->Add(update.token_ids.begin(), update.token_ids.end());
    message.mutable_text()->append(update.text);
    usage_ = update.usage;
    if (std::exchange(busy_, true)) return;
  }
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void GenerateStream::OnCompletionEnd(GenerationEnd end) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return;
    Close(std::move(end));
    if (std::exchange(busy_, true)) return;
  }
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void GenerateStream::OnEnd(GenerationEnd end) {
  LOG_DEBUG("{}: ended after {} prompt and {} generated tokens: {}", ScopedRequestId(*caller_, shown_id_),
            end.usage.prompt_tokens, end.usage.completion_tokens, end.status.ToString());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = end.status;
    if (end.status.ok()) Close(std::move(end));
    // What is still to be written then needs no model, however slowly it is read.
    for (Pending& pending : pending_) Complete(pending, *model_->parts.model.tokenizer);
    model_.reset();
    if (std::exchange(busy_, true)) return;
  }
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void GenerateStream::Close(GenerationEnd end) {
  v1::GenerateResponse& last = Open(end.index).message;
  last.mutable_text()->append(end.text);
  last.set_finish_reason(ToProto(end.reason));
  usage_ = end.usage;
  last.set_adapter_generation(end.adapter_generation);
  if (!end.stop_string.empty()) last.set_stop_string(end.stop_string);
  if (end.stop_token.has_value()) last.set_stop_token_id(*end.stop_token);
}

GenerateStream::Pending& GenerateStream::Open(int index) {
  // Few completions, few messages: a reader that keeps up leaves one of each.
  const auto open = std::find_if(pending_.rbegin(), pending_.rend(),
                                 [index](const Pending& pending) { return pending.message.index() == index; });
  if (open != pending_.rend() && open->ApproximateSize() < kMaxMessageBytes) return *open;
  Pending& pending = pending_.emplace_back();
  pending.message.set_request_id(shown_id_);
  pending.message.set_index(index);
  pending.message.set_seed(seed_ + static_cast<uint64_t>(index));
  return pending;
}

// A token takes up to five bytes, a token's log probability about 32.
size_t GenerateStream::Pending::ApproximateSize() const {
  size_t size = message.text().size() + 5 * static_cast<size_t>(message.token_ids_size());
  for (const auto* list : {&logprobs, &prompt_logprobs}) {
    if (!list->empty()) size += 32 * list->size() * (1 + list->back().top.size());
  }
  return size;
}

void GenerateStream::Complete(Pending& pending, const Tokenizer& tokenizer) {
  for (const TokenLogprobs& logprobs : pending.prompt_logprobs) {
    *pending.message.add_prompt_logprobs() = ToProto(logprobs, tokenizer);
  }
  for (const TokenLogprobs& logprobs : pending.logprobs) {
    *pending.message.add_logprobs() = ToProto(logprobs, tokenizer);
  }
  pending.prompt_logprobs.clear();
  pending.logprobs.clear();
}

void GenerateStream::Pump() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (gone_) pending_.clear();
  const bool last = pending_.size() == 1 && end_.has_value() && end_->ok();
  if (!pending_.empty()) {
    Pending next = std::move(pending_.front());
    pending_.pop_front();
    // As of now: completions overtake each other here, and what is said of all of them never goes back.
    FillUsage(usage_, *next.message.mutable_usage());
    const ModelLease model = model_;  // null: OnEnd has completed it
    lock.unlock();
    if (model != nullptr) Complete(next, *model->parts.model.tokenizer);
    out_ = ToBytes(next.message);
    // Nothing of *this may be touched after the last action; after the others busy_ stays until OnWriteDone.
    if (last) {
      StartWriteAndFinish(&out_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      StartWrite(&out_);
    }
  } else if (end_.has_value()) {
    const grpc::Status status = gone_ ? grpc::Status::CANCELLED : ToGrpc(*end_);
    lock.unlock();
    Finish(status);
  } else {
    busy_ = false;
  }
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
  ModelLease model;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = true;
    id = request_id_;
    model = model_;
  }
  if (model == nullptr || id.empty()) return;  // ended, or not yet taken by the engine
  LOG_DEBUG("{}: the client cancelled or is gone", id);
  model->generation.Abort(id);
}

}  // namespace tandem
