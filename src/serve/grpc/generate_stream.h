// One Generate call: the engine's sink on one side, gRPC's writer on the other. At most one write is in flight; what
// the engine brings meanwhile is merged into one pending message, so a slow reader costs at most one completion's
// memory and the step thread never waits. A client that cancels or vanishes aborts its request.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "serve/grpc/call_context.h"
#include "tandem/generation.h"
#include "tandem/v1/inference.pb.h"

namespace tandem {

class GenerateStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public GenerationSink,
                             public std::enable_shared_from_this<GenerateStream> {
 public:
  // The returned reactor owns itself until gRPC is done with it. `shared` and `request` are borrowed until then.
  static GenerateStream* Create(CallContext* shared, const grpc::CallbackServerContext& context,
                                const grpc::ByteBuffer* request);

  // Step thread:
  void OnUpdate(GenerationUpdate update) override;
  void OnCompletionEnd(GenerationEnd end) override;
  void OnEnd(GenerationEnd end) override;
  // gRPC's threads:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  GenerateStream(CallContext* shared, absl::StatusOr<std::string> caller, absl::Time deadline)
      : shared_(shared), caller_(std::move(caller)), deadline_(deadline) {}

  void Begin(const grpc::ByteBuffer& bytes);
  absl::Status Submit(const grpc::ByteBuffer& bytes);
  void Abort();
  // Takes the next action: write, finish, or rest. Called by whoever holds `busy_`.
  void Pump();
  // A message that was not written yet, and what only becomes part of it when it is: spelling tokens out is not the
  // step thread's work.
  struct Pending {
    v1::GenerateResponse message;
    std::vector<TokenLogprobs> prompt_logprobs = {}, logprobs = {};
    size_t ApproximateSize() const;
  };
  static void Complete(Pending& pending, const Tokenizer& tokenizer);
  // The message that takes the next news of a completion; its last one.
  Pending& Open(int index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Close(GenerationEnd end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CallContext* const shared_;
  const absl::StatusOr<std::string> caller_;  // or why not
  const absl::Time deadline_;
  std::shared_ptr<GenerateStream> self_;  // gRPC's share; dropped in OnDone

  // Set by Submit before the engine knows the stream, constant from then on.
  uint64_t seed_ = 0;     // of the first completion
  std::string shown_id_;  // what the client knows the request by

  std::mutex mutex_;
  ModelLease model_ ABSL_GUARDED_BY(mutex_);             // from Submit until the engine is done with the request
  std::string request_id_ ABSL_GUARDED_BY(mutex_);       // the engine's; "" until it has taken the request
  Usage usage_ ABSL_GUARDED_BY(mutex_);                  // the latest, of all completions together
  std::deque<Pending> pending_ ABSL_GUARDED_BY(mutex_);  // the last one of each completion is open
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;            // a Pump is posted or running, or a write is in flight
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;            // the client: cancelled, vanished, or a write failed
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer out_;  // of the write in flight
};

}  // namespace tandem
