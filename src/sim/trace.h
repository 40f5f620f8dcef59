// What a simulation serves: requests with their times of arrival, from a file or drawn.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tandem::sim {

struct TraceRequest {
  absl::Duration arrival;  // from the start of the trace
  int prompt_tokens = 0, output_tokens = 0;
  std::string adapter;
};

// CSV of arrival_seconds,prompt_tokens,output_tokens[,adapter], with or without a line of headings; or JSON lines of
// {"arrival", "prompt_tokens", "output_tokens", "adapter"}. INVALID_ARGUMENT names file and line where a field is
// missing (a hole) or no number, where a length is below 1, and where an arrival lies before the one above it.
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(const std::string& name, const std::string& text);

struct ArrivalOptions {
  double rate = 1;  // requests a second
  double cv = 1;    // of the gaps (gamma): 1 is a Poisson process, more is burstier
  absl::Duration duration = absl::Seconds(60);
  int prompt_tokens = 128, output_tokens = 64;  // means; lengths are uniform between half and one and a half of them
  uint64_t seed = 1;
};

std::vector<TraceRequest> DrawTrace(const ArrivalOptions& options);

}  // namespace tandem::sim
