#include "cli/bench/loadgen.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "cli/bench/workload.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem::bench {
namespace {

constexpr absl::Duration kReportEvery = absl::Milliseconds(100);

struct Line {
  Connection connection;
  std::unique_ptr<v1::Inference::Stub> stub;
};

absl::StatusOr<std::vector<Line>> OpenLines(ConnectOptions daemon, int count) {
  daemon.own_connection = count > 1;
  std::vector<Line> lines;
  for (int i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(Connection connection, Connection::Open(daemon));
    auto stub = v1::Inference::NewStub(connection.channel());
    lines.push_back({std::move(connection), std::move(stub)});
  }
  return lines;
}

}  // namespace

// One request under way. gRPC's threads call it, one at a time; after OnEnd nobody does.
class LoadGenerator::Stream final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Stream(LoadGenerator* owner, absl::Duration due) : owner_(owner) { trace.due = due; }

  void Start(const Line& line, const v1::GenerateRequest& request, absl::Duration timeout) {
    line.connection.Prepare(context_);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    trace.sent = owner_->elapsed();
    line.stub->async()->Generate(&context_, &request, this);
    StartRead(&response_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (const int tokens = response_.token_ids_size(); tokens > 0) {
      const absl::Duration now = owner_->elapsed();
      if (trace.first_tokens == 0) {
        trace.first_token = now;
        trace.first_tokens = tokens;
      } else {
        trace.token_gaps.push_back(now - trace.last_token);
      }
      trace.last_token = now;
      owner_->OnTokens(tokens);
    }
    trace.prompt_tokens = response_.usage().prompt_tokens();
    trace.completion_tokens = response_.usage().completion_tokens();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    trace.status = FromGrpc(status);
    trace.end = owner_->elapsed();
    owner_->OnEnd(*this);
  }

  RequestTrace trace;

 private:
  LoadGenerator* const owner_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
};

LoadGenerator::LoadGenerator(const ConnectOptions& daemon) : daemon_(daemon) {}
LoadGenerator::~LoadGenerator() = default;

absl::StatusOr<LoadResult> LoadGenerator::Run(const std::vector<v1::GenerateRequest>& requests,
                                              const LoadOptions& options,
                                              const std::function<void(const LoadProgress&)>& on_progress) {
  CHECK_GE(options.concurrency, 1);
  ASSIGN_OR_RETURN(const std::vector<Line> lines, OpenLines(daemon_, options.connections));
  Arrivals drawn(options.rate, options.cv, options.seed);
  const auto arrival = [&](size_t number) {
    if (options.arrivals.empty()) return drawn.Next();
    return number < options.arrivals.size() ? options.arrivals[number] : absl::InfiniteDuration();
  };
  const bool open = options.arrival == Arrival::kOpen;
  start_ = Clock::now();
  absl::Duration due = open ? arrival(0) : absl::ZeroDuration();
  absl::Duration report_at = absl::ZeroDuration();

  std::unique_lock<std::mutex> lock(mutex_);
  progress_.total = static_cast<int>(requests.size());
  while (true) {
    const absl::Duration now = elapsed();
    if (now >= report_at) {
      report_at = now + kReportEvery;
      LoadProgress progress = progress_;
      progress.elapsed = now;
      lock.unlock();
      on_progress(progress);
      lock.lock();
    }
    const Action action = Next(requests.size(), options, due, now);
    if (action == Action::kFinish) break;
    if (action == Action::kWait) {
      const bool more = open && !stopped_ && streams_.size() < requests.size() && due < options.send_for;
      changed_.wait_until(lock, start_ + absl::ToChronoNanoseconds(more ? std::min(due, report_at) : report_at));
      continue;
    }
    const size_t number = streams_.size();
    Stream& stream = *streams_.emplace_back(std::make_unique<Stream>(this, open ? due : now));
    ++progress_.sent;
    lock.unlock();
    stream.Start(lines[number % lines.size()], requests[number], options.request_timeout);
    lock.lock();
    if (stopped_) stream.Cancel();
    if (open) due = arrival(number + 1);
  }
  LoadResult result;
  for (const std::unique_ptr<Stream>& stream : streams_) {
    result.elapsed = std::max(result.elapsed, stream->trace.end);
    result.traces.push_back(std::move(stream->trace));
  }
  if (!result.traces.empty()) result.elapsed -= result.traces[0].due;
  streams_.clear();
  return result;
}

LoadGenerator::Action LoadGenerator::Next(size_t total, const LoadOptions& options, absl::Duration due,
                                          absl::Duration now) {
  const bool all_sent = stopped_ || streams_.size() == total || now >= options.send_for ||
                        (options.arrival == Arrival::kOpen && due >= options.send_for);
  if (all_sent) return progress_.running() == 0 ? Action::kFinish : Action::kWait;
  const bool may_send = options.arrival == Arrival::kOpen ? now >= due : progress_.running() < options.concurrency;
  return may_send ? Action::kSend : Action::kWait;
}

void LoadGenerator::OnTokens(int count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  progress_.completion_tokens += count;
}

void LoadGenerator::OnEnd(const Stream& stream) {
  // Notified under the lock: once it is released, Run may be through and this generator gone.
  const std::lock_guard<std::mutex> lock(mutex_);
  ++(stream.trace.ok() ? progress_.done : progress_.failed);
  changed_.notify_all();
}

void LoadGenerator::Stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  for (const std::unique_ptr<Stream>& stream : streams_) stream->Cancel();
  changed_.notify_all();
}

}  // namespace tandem::bench
