// Waiting for a request to stop, which arrives at a descriptor: a signalfd, a supervisor's pipe, or a test's.
#pragma once

#include "absl/time/time.h"

namespace tandem {

enum class WaitEnd { kStop, kOther, kTimeout };

// Waits for a request to stop, for `other_fd` to become readable (-1: nothing else), or until `limit` has passed. Each
// kStop takes one request from `stop_fd`, and comes before kOther where both are there.
WaitEnd WaitForStop(int stop_fd, int other_fd, absl::Duration limit = absl::InfiniteDuration());

}  // namespace tandem
