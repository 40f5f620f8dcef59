// Requests that are drawn rather than recorded: what a simulation serves where no trace is given.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "base/trace.h"

namespace tandem::sim {

struct ArrivalOptions {
  double rate = 1;  // requests a second
  double cv = 1;    // of the gaps (gamma): 1 is a Poisson process, more is burstier
  absl::Duration duration = absl::Seconds(60);
  int prompt_tokens = 128, output_tokens = 64;  // means; lengths are uniform between half and one and a half of them
  uint64_t seed = 1;
};

std::vector<TraceRequest> DrawTrace(const ArrivalOptions& options);

}  // namespace tandem::sim
