#include "serve/grpc/watch_stream.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/wire.h"

namespace tandem {

class WatchStream::Subscription final : public JobSink {
 public:
  explicit Subscription(std::shared_ptr<WatchStream> stream) : stream_(std::move(stream)) {}
  void OnEvent(const JobEvent& event) override { stream_->OnEvent(this, event); }
  void OnEnd() override { stream_->OnEnd(this); }

 private:
  const std::shared_ptr<WatchStream> stream_;  // the engine may still call while the stream is ending
};

WatchStream* WatchStream::Create(CallContext* shared, const grpc::CallbackServerContext& context,
                                 const grpc::ByteBuffer* request) {
  std::shared_ptr<WatchStream> stream(new WatchStream(shared));
  stream->self_ = stream;
  {
    const std::lock_guard<std::mutex> lock(shared->watches_mutex);
    std::erase_if(shared->watches, [](const std::weak_ptr<WatchStream>& watch) { return watch.expired(); });
    shared->watches.push_back(stream);
  }
  shared->calls.Post(
      [stream, request, authorized = shared->Authorize(context).status()] { stream->Begin(*request, authorized); });
  return stream.get();
}

void WatchStream::Begin(const grpc::ByteBuffer& bytes, const absl::Status& authorized) {
  v1::WatchJobRequest request;
  absl::Status status = authorized;
  if (status.ok()) status = shared_->CheckServing();
  if (status.ok()) status = ParseMessage(bytes, request);
  if (!status.ok()) return End(ToGrpc(status));
  absl::StatusOr<ModelLease> model = shared_->models.Lease();
  if (!model.ok()) return End(ToGrpc(model.status()));
  job_id_ = request.id();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    model_ = *std::move(model);
    next_event_ = std::max<int64_t>(1, request.first_event());
  }
  if (status = Subscribe(); !status.ok()) return End(ToGrpc(status));
  Pump();
}

absl::Status WatchStream::Subscribe() {
  std::shared_ptr<Subscription> subscription = std::make_shared<Subscription>(shared_from_this());
  std::shared_ptr<Subscription> previous;
  ModelLease model;
  int64_t first_event;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closing_.ok()) return closing_;
    model = model_;
    previous = std::exchange(subscription_, subscription);
    behind_ = false;
    first_event = next_event_;
  }
  if (previous != nullptr) model->parts.fine_tuning->StopWatching(job_id_, previous.get());
  return model->parts.fine_tuning->WatchJob(job_id_, first_event, std::move(subscription));
}

void WatchStream::OnEvent(const Subscription* from, const JobEvent& event) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (from != subscription_.get() || behind_ || event.number < next_event_) return;
  if (events_.size() == kMaxQueuedEvents) {
    behind_ = true;
    return;
  }
  events_.push_back(event);
  next_event_ = event.number + 1;
  Wake(std::move(lock));
}

void WatchStream::OnEnd(const Subscription* from) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (from != subscription_.get() || behind_) return;
  ended_ = true;
  Wake(std::move(lock));
}

void WatchStream::Shutdown(const absl::Status& why) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = why;
  }
  LeaveEngine();
  Wake(std::unique_lock<std::mutex>(mutex_));
}

void WatchStream::OnCancel() {
  std::unique_lock<std::mutex> lock(mutex_);
  gone_ = true;
  Wake(std::move(lock));
}

void WatchStream::OnWriteDone(bool ok) {
  if (!ok) {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = true;
  }
  Pump();
}

void WatchStream::Wake(std::unique_lock<std::mutex> lock) {
  if (std::exchange(busy_, true)) return;
  lock.unlock();
  shared_->writes.Post([self = shared_from_this()] { self->Pump(); });
}

void WatchStream::Pump() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (gone_) {
    lock.unlock();
    End(grpc::Status::CANCELLED);
  } else if (!events_.empty()) {
    out_ = ToBytes(ToProto(events_.front()));
    events_.pop_front();
    lock.unlock();
    StartWrite(&out_);  // busy_ until OnWriteDone
  } else if (ended_) {
    lock.unlock();
    End(grpc::Status::OK);
  } else if (!closing_.ok()) {
    const absl::Status why = closing_;
    lock.unlock();
    End(ToGrpc(why));
  } else if (behind_) {
    lock.unlock();
    shared_->calls.Post([self = shared_from_this()] {
      const absl::Status status = self->Subscribe();
      if (!status.ok()) return self->End(ToGrpc(status));
      self->Pump();
    });
  } else {
    busy_ = false;
  }
}

void WatchStream::LeaveEngine() {
  std::shared_ptr<Subscription> subscription;
  ModelLease model;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    subscription = std::exchange(subscription_, nullptr);
    model = std::exchange(model_, nullptr);
  }
  if (subscription != nullptr) model->parts.fine_tuning->StopWatching(job_id_, subscription.get());
}

void WatchStream::End(const grpc::Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = true;  // for good: nobody pumps any more
  }
  LeaveEngine();
  Finish(status);
}

}  // namespace tandem
