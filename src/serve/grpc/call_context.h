// What all calls of the gRPC front end share.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "serve/core/access.h"
#include "serve/core/model_host.h"
#include "serve/core/work_queue.h"

namespace tandem {

class WatchStream;

// What a caller must show. Nothing where both are empty: the daemon then listens on this machine only.
struct AccessRules {
  std::vector<ApiKey> api_keys;     // one of these, in the metadata "authorization: Bearer KEY"
  bool client_certificate = false;  // one that the transport has verified
};

struct CallContext {
  CallContext(ModelHost* model_host, AccessRules access_rules, int num_threads, size_t max_data)
      : models(*model_host),
        access(std::move(access_rules)),
        started(absl::Now()),
        max_data_bytes(max_data),
        writes(1),
        slow_calls(1),
        calls(num_threads) {}

  // UNAVAILABLE once the daemon takes no new work.
  absl::Status CheckServing() const {
    return draining.load() ? absl::UnavailableError("tandemd is shutting down") : absl::OkStatus();
  }

  // The caller's name: of its API key, else of its certificate, "" where nobody is asked. UNAUTHENTICATED says what is
  // missing. Every method of every service of ours asks here before it looks at a request.
  absl::StatusOr<std::string> Authorize(const grpc::CallbackServerContext& context) const;

  ModelHost& models;
  const AccessRules access;
  const absl::Time started;
  const size_t max_data_bytes;
  std::atomic<bool> draining{false};

  std::mutex watches_mutex;
  std::vector<std::weak_ptr<WatchStream>> watches ABSL_GUARDED_BY(watches_mutex);

  // Destroyed (joined) before everything above, the queues that a call reaches first before those it reaches later.
  WorkQueue writes;      // woken by the step thread, which must not pay for the transport's work
  WorkQueue slow_calls;  // what reads files: jobs' data, adapters; generation never waits behind it
  WorkQueue calls;       // parse, tokenize, answer
};

}  // namespace tandem
