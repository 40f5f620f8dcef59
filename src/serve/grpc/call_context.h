// What all calls of the gRPC front end share.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "serve/core/generation.h"
#include "serve/core/parts.h"
#include "serve/core/work_queue.h"

namespace tandem {

class WatchStream;

struct CallContext {
  CallContext(const ServeParts& serve_parts, int num_threads, size_t max_data)
      : parts(serve_parts),
        generation(parts.model, parts.inference, parts.random),
        max_data_bytes(max_data),
        calls(num_threads),
        slow_calls(1),
        writes(1) {}

  // UNAVAILABLE once the daemon takes no new work.
  absl::Status CheckServing() const {
    return draining.load() ? absl::UnavailableError("tandemd is shutting down") : absl::OkStatus();
  }

  const ServeParts parts;
  GenerationHandler generation;
  const size_t max_data_bytes;
  std::atomic<bool> draining{false};

  std::mutex watches_mutex;
  std::vector<std::weak_ptr<WatchStream>> watches ABSL_GUARDED_BY(watches_mutex);

  // Destroyed (joined) before everything above.
  WorkQueue calls;       // parse, tokenize, answer
  WorkQueue slow_calls;  // what reads files: jobs' data, adapters; generation never waits behind it
  WorkQueue writes;      // woken by the step thread, which must not pay for the transport's work
};

}  // namespace tandem
