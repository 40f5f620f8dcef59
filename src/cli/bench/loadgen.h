// Sends generation requests to a daemon and times what comes back. Streams are gRPC callbacks: the number of requests
// under way costs memory, not threads.
//
//   LoadGenerator load(session.daemon);
//   LoadResult result = load.Run(requests, {.arrival = Arrival::kOpen, .rate = 8}, on_progress);
//   Report report = Evaluate(result, slo);   // report.h
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/connection.h"
#include "tandem/v1/inference.pb.h"

namespace tandem::bench {

enum class Arrival {
  kOpen,    // at times of their own (workload.h, Arrivals), whether or not earlier ones are done
  kClosed,  // `concurrency` under way at any time: the next is sent when one ends
};

struct LoadOptions {
  Arrival arrival = Arrival::kClosed;
  double rate = 1;      // kOpen: requests a second
  double cv = 1;        // kOpen: coefficient of variation of the gaps; 1: Poisson, more: bursts
  int concurrency = 8;  // kClosed
  absl::Duration send_for = absl::InfiniteDuration();  // sends no more after that; those under way may finish
  absl::Duration request_timeout = absl::Minutes(5);   // each request's deadline
  uint64_t seed = 1;                                   // of arrivals
  int connections = 1;                                 // TCP connections that the requests share
  std::vector<absl::Duration> arrivals;  // kOpen: of each request, in order, instead of rate and cv; [] for those
};

// What was seen of one request. Times are from the start of the load, by a clock that only goes forward.
struct RequestTrace {
  absl::Status status;
  absl::Duration due;  // when it should have been sent: kClosed: was
  absl::Duration sent, first_token, last_token, end;
  int prompt_tokens = 0, completion_tokens = 0;
  int first_tokens = 0;                    // tokens that the first message with tokens brought
  std::vector<absl::Duration> token_gaps;  // between messages with tokens: what a reader waits

  bool ok() const { return status.ok() && completion_tokens > 0; }
  // From the due time: what a client that had to wait for this generator would have felt too.
  absl::Duration ttft() const { return first_token - due; }
  absl::Duration e2e() const { return end - due; }
  // Mean time of a token after the first; nothing where there was no further message.
  std::optional<absl::Duration> tpot() const {
    const int later = completion_tokens - first_tokens;
    if (later <= 0) return std::nullopt;
    return (last_token - first_token) / later;
  }
};

struct LoadProgress {
  int total = 0;  // requests that there are; fewer are sent where `send_for` ends first
  int sent = 0, done = 0, failed = 0;
  int64_t completion_tokens = 0;
  absl::Duration elapsed;
  int running() const { return sent - done - failed; }
};

struct LoadResult {
  std::vector<RequestTrace> traces;  // of the requests that were sent, in that order
  absl::Duration elapsed;            // from the first request's due time to the last end
};

class LoadGenerator {
 public:
  explicit LoadGenerator(const ConnectOptions& daemon);
  ~LoadGenerator();

  // Blocks until all is sent and has ended; once. `requests` are borrowed. `on_progress` is called on this thread about
  // ten times a second. UNAVAILABLE where there is no daemon; what becomes of a request is in its trace.
  absl::StatusOr<LoadResult> Run(const std::vector<v1::GenerateRequest>& requests, const LoadOptions& options,
                                 const std::function<void(const LoadProgress&)>& on_progress);

  // Ends a Run on another thread: nothing more is sent, what is under way is cancelled and counts as failed.
  // Thread-safe.
  void Stop();

 private:
  class Stream;
  using Clock = std::chrono::steady_clock;

  // What Run may do now, and when to look again.
  enum class Action { kSend, kWait, kFinish };
  Action Next(size_t total, const LoadOptions& options, absl::Duration due, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration elapsed() const { return absl::FromChrono(Clock::now() - start_); }
  void OnTokens(int count);
  void OnEnd(const Stream& stream);

  const ConnectOptions daemon_;
  Clock::time_point start_;  // of the load; set before its first stream
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);  // in the order they were sent
  LoadProgress progress_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem::bench
