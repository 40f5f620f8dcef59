// One Embed call: its inputs are requests of the engine, its answer is theirs together. A client that cancels or
// vanishes aborts them, and so does the first of them that fails.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "serve/core/embedding.h"
#include "serve/grpc/call_context.h"

namespace tandem {

class EmbedCall final : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<EmbedCall> {
 public:
  // The returned reactor owns itself until gRPC is done with it. The others are borrowed until then.
  static EmbedCall* Create(CallContext* shared, const grpc::CallbackServerContext& context, const grpc::ByteBuffer* in,
                           grpc::ByteBuffer* out);

  // gRPC's threads:
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  EmbedCall(CallContext* shared, absl::StatusOr<std::string> caller, absl::Time deadline, grpc::ByteBuffer* out)
      : shared_(shared), caller_(std::move(caller)), deadline_(deadline), out_(out) {}

  absl::Status Begin(const grpc::ByteBuffer& in);
  // On the queue of writes: the engine's thread neither waits for the transport nor calls back into the engine.
  void End(const absl::StatusOr<EmbeddingResult>& result);
  void Abort(ServedModel& model);

  CallContext* const shared_;
  const absl::StatusOr<std::string> caller_;  // or why not
  const absl::Time deadline_;
  grpc::ByteBuffer* const out_;
  std::shared_ptr<EmbedCall> self_;  // gRPC's share; dropped in OnDone
  std::string shown_id_;             // set by Begin before the engine knows the requests

  std::mutex mutex_;
  ModelLease model_ ABSL_GUARDED_BY(mutex_);                             // from Begin to End
  std::shared_ptr<EmbeddingGatherer> gatherer_ ABSL_GUARDED_BY(mutex_);  // shared: with the requests' sinks
  std::vector<std::string> ids_ ABSL_GUARDED_BY(mutex_);                 // of requests that may be running
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;                          // what is started now is of no use
};

}  // namespace tandem
