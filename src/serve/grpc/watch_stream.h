// One WatchJob call. Events wait in a bounded mailbox; where a slow reader lets it fill up, the rest is dropped and
// asked for again, by number, once the mailbox is empty: nothing is lost and memory stays bounded.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "serve/grpc/call_context.h"
#include "tandem/job.h"

namespace tandem {

class WatchStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  static constexpr size_t kMaxQueuedEvents = 512;

  // The returned reactor owns itself until gRPC is done with it. `shared` and `request` are borrowed until then.
  static WatchStream* Create(CallContext* shared, const grpc::CallbackServerContext& context,
                             const grpc::ByteBuffer* request);

  // Ends the stream with `why` once its mailbox is empty: the daemon or the model is going. The engine is done with it.
  void Shutdown(const absl::Status& why);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  // One subscription with the engine; a new one for each time that the stream fell behind.
  class Subscription;

  explicit WatchStream(CallContext* shared) : shared_(shared) {}
  void Begin(const grpc::ByteBuffer& bytes, const absl::Status& authorized);
  absl::Status Subscribe();
  void OnEvent(const Subscription* from, const JobEvent& event);
  void OnEnd(const Subscription* from);
  // Ends the subscription and gives the lease back.
  void LeaveEngine();
  // Makes sure that a Pump will run. Takes the lock away.
  void Wake(std::unique_lock<std::mutex> lock);
  // Takes the next action: write, subscribe again, finish, or rest. Called by whoever holds `busy_`.
  void Pump();
  void End(const grpc::Status& status);

  CallContext* const shared_;
  std::shared_ptr<WatchStream> self_;  // gRPC's share; dropped in OnDone
  std::string job_id_;                 // constant once Begin has read it

  std::mutex mutex_;
  ModelLease model_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Subscription> subscription_ ABSL_GUARDED_BY(mutex_);
  std::deque<JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  int64_t next_event_ ABSL_GUARDED_BY(mutex_) = 1;  // number of the first event not yet in the mailbox
  bool behind_ ABSL_GUARDED_BY(mutex_) = false;     // the mailbox was full: events from next_event_ on were dropped
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;      // by the engine, after the last event
  absl::Status closing_ ABSL_GUARDED_BY(mutex_);
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;  // the client
  bool busy_ ABSL_GUARDED_BY(mutex_) = true;   // Begin, a Pump or a write is under way
  grpc::ByteBuffer out_;                       // of the write in flight
};

}  // namespace tandem
