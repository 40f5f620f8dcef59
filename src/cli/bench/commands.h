// tandem bench ...
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/bench/loadgen.h"
#include "cli/bench/report.h"
#include "cli/commands.h"

namespace tandem::bench {

struct ServeOptions {
  LoadOptions load;
  Slo slo;
  int num_requests = 100;
  std::string file;          // JSONL; "": synthetic requests, by the fields below
  std::string trace;         // of arrivals and lengths; "": drawn
  std::string requests_out;  // where a line for each request goes; "": nowhere
  absl::Duration warm_up;    // requests that are due before it do not count
  std::string prompt_tokens = "128", output_tokens = "64";
  int shared_prefix = 0;
  std::string adapter;
  double temperature = 0;
};

absl::Status RunServe(const Session& session, const ServeOptions& options);

}  // namespace tandem::bench
