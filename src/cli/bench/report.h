// What a load showed, in figures: latencies, throughput, goodput under an SLO; as text and as JSON.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/bench/loadgen.h"
#include "cli/bench/stats.h"
#include "cli/terminal.h"

namespace tandem::bench {

// A request is good where it ended well and kept every limit that is set. One token has no TPOT and keeps that limit.
struct Slo {
  std::optional<absl::Duration> ttft, tpot;
  bool any() const { return ttft.has_value() || tpot.has_value(); }
};

struct Report {
  int sent = 0, done = 0, failed = 0;
  std::map<std::string, int> errors;  // status and message, and how often
  double seconds = 0;
  int64_t prompt_tokens = 0, completion_tokens = 0;  // of the requests that are done
  Summary ttft_ms, tpot_ms, itl_ms, e2e_ms;
  Summary lag_ms;                                       // by which the generator itself sent late
  std::vector<double> ttft_samples_ms, itl_samples_ms;  // for histograms
  Slo slo;
  int good = 0;  // requests within the SLO; all that are done where there is none

  double PerSecond(double count) const { return seconds > 0 ? count / seconds : 0; }
};

// Of the requests that were due after `warm_up`.
Report Evaluate(const LoadResult& result, const Slo& slo, absl::Duration warm_up = absl::ZeroDuration());

nlohmann::ordered_json ToJson(const Report& report);

// One JSON line for each request, in the order they were sent.
std::string RequestLines(const LoadResult& result, const Slo& slo);

// A table of latencies, throughput and goodput, and a histogram each of TTFT and ITL.
std::string Render(const Terminal& terminal, const Report& report);

}  // namespace tandem::bench
