// Traces of requests: when they arrive and how long they are. What simulations and load generators replay.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tandem {

struct TraceRequest {
  absl::Duration arrival;  // from the start of the trace
  int prompt_tokens = 0, output_tokens = 0;
  std::string adapter;
};

// CSV of arrival_seconds,prompt_tokens,output_tokens[,adapter], with or without a line of headings; or JSON lines of
// {"arrival", "prompt_tokens", "output_tokens", "adapter"}. INVALID_ARGUMENT names file and line where a field is
// missing (a hole) or no number, where a length is below 1, and where an arrival lies before the one above it.
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(const std::string& name, const std::string& text);

}  // namespace tandem
