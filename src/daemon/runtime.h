// What the daemon runs behind its front ends: the engine and the model's text side. Made by wiring.cc from the
// configuration, by tests from fakes.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/config.h"
#include "serve/core/parts.h"

namespace tandem {

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Valid as long as the runtime.
  virtual ServeParts parts() = 0;

  // Starts the step loop; before it no request is given. Once.
  virtual absl::Status Start() = 0;

  // Takes no new work, lets running requests finish within `grace`, ends the rest, then stops the loop. When it
  // returns, every sink has had its OnEnd. Once, from any thread.
  virtual void Drain(absl::Duration grace) = 0;

  // Why it ended by itself: what the process should end with. Any thread.
  virtual absl::Status failure() const { return absl::OkStatus(); }
};

using RuntimeFactory = std::function<absl::StatusOr<std::unique_ptr<Runtime>>(const Config& config)>;

// The real one: model, tokenizer and engine as the configuration says. In wiring.cc.
absl::StatusOr<std::unique_ptr<Runtime>> MakeRuntime(const Config& config);

}  // namespace tandem
