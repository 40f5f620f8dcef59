// Keeps a worker process alive: one that a signal killed, or that lost its device, is followed by another. A device's
// error that sticks to its process (CUDA's "illegal address" and its like) can be left behind in no other way.
//
// The worker learns of requests to stop by a pipe, whose number stands in its environment, not by signals: those of a
// terminal or of a killall go to both processes, and the second request is the one that stops at once. It does not
// outlive its supervisor, whatever ends that.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tandem {

// What a process ends with that only another one can follow (EX_TEMPFAIL).
inline constexpr int kRestartExitCode = 75;
// The environment variable with the descriptor of the worker's pipe.
inline constexpr char kWorkerStopFd[] = "TANDEM_WORKER_STOP_FD";

struct SupervisorOptions {
  std::string program;                 // a path
  std::vector<std::string> arguments;  // argv of the worker, its own name first
  int stop_fd = -1;                    // each read from it is a request to stop, passed on
  absl::Duration max_delay = absl::Minutes(1);
  std::function<void(const std::string& why)> on_restart;  // before each wait; where not set: a line of the log
};

// How long to wait before the next worker: one second, twice as long after each that ran for less than max_delay, at
// most max_delay.
absl::Duration NextDelay(absl::Duration last, absl::Duration ran, absl::Duration max_delay);

// Runs workers until one ends by itself or was asked to stop: its exit code, 128 + its signal, or 0 where the request
// came between two of them. An error where none can be started. Call it while the process has one thread; the worker
// inherits what is not close-on-exec.
absl::StatusOr<int> Supervise(const SupervisorOptions& options);

}  // namespace tandem
