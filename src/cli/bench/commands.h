// tandem bench ...
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "cli/bench/loadgen.h"
#include "cli/bench/report.h"
#include "cli/commands.h"

namespace tandem::bench {

struct ServeOptions {
  LoadOptions load;
  Slo slo;
  int num_requests = 100;
  std::string file;  // JSONL; "": synthetic requests, by the fields below
  std::string prompt_tokens = "128", output_tokens = "64";
  int shared_prefix = 0;
  std::string adapter;
  double temperature = 0;
};

absl::Status RunServe(const Session& session, const ServeOptions& options);

}  // namespace tandem::bench
