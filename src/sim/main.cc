// tandem-sim: all policies on one trace and one cost model, as a table and as JSON.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "sched/policies.h"
#include "sim/simulator.h"

namespace tandem::sim {
namespace {

constexpr int kMost = 1 << 24;      // tokens, rows, blocks
constexpr double kMostMs = 86.4e6;  // a day

struct CommandLine {
  std::string cost, beside, trace;
  std::vector<std::string> policies = PolicyNames();
  ArrivalOptions arrivals;
  SimulationOptions simulation;
  double duration_s = 60, ttft_ms = 0, tpot_ms = 0, max_iteration_ms = 250;
  bool json = false;
};

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

nlohmann::ordered_json ToJson(const std::string& policy, const SimulationResult& r) {
  return {{"policy", policy},
          {"requests", r.requests},
          {"unfinished", r.unfinished},
          {"slo_attainment", r.attainment()},
          {"ttft_p50_ms", Percentile(r.ttft_ms, 0.5)},
          {"ttft_p99_ms", Percentile(r.ttft_ms, 0.99)},
          {"tpot_p50_ms", Percentile(r.tpot_ms, 0.5)},
          {"tpot_p99_ms", Percentile(r.tpot_ms, 0.99)},
          {"e2e_p50_ms", Percentile(r.e2e_ms, 0.5)},
          {"generated_tokens_per_second", r.generated_per_second()},
          {"goodput_requests_per_second", r.seconds > 0 ? r.met / r.seconds : 0},
          {"training_tokens_per_second", r.trained_per_second()},
          {"iterations", r.iterations},
          {"simulated_seconds", r.seconds},
          {"prediction_error", r.mean_error}};
}

absl::StatusOr<CostModel> ReadCost(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<CostModel> cost = CostModel::FromJson(text);
  if (!cost.ok()) return Annotate(cost.status(), path);
  return cost;
}

absl::Status Run(CommandLine line) {
  ASSIGN_OR_RETURN(const CostModel cost, ReadCost(line.cost));
  std::optional<CostModel> beside;
  if (!line.beside.empty()) {
    ASSIGN_OR_RETURN(beside, ReadCost(line.beside));
    line.simulation.beside = &*beside;
  }
  line.arrivals.duration = absl::Seconds(line.duration_s);
  std::vector<TraceRequest> trace = DrawTrace(line.arrivals);
  if (!line.trace.empty()) {
    ASSIGN_OR_RETURN(const std::string lines, ReadFile(line.trace));
    ASSIGN_OR_RETURN(trace, ParseTrace(line.trace, lines));
  }
  SimulationOptions& options = line.simulation;
  // Policies that fall behind must end too.
  options.limit = 3 * (trace.empty() ? line.arrivals.duration : trace.back().arrival) + absl::Minutes(1);
  if (line.ttft_ms > 0) options.slo.ttft = absl::Milliseconds(line.ttft_ms);
  if (line.tpot_ms > 0) options.slo.tpot = absl::Milliseconds(line.tpot_ms);
  if (line.ttft_ms > 0 || line.tpot_ms > 0) {
    options.scheduler.max_iteration = absl::Milliseconds(line.max_iteration_ms);
  }
  RETURN_IF_ERROR(ValidateSchedulerOptions(options.scheduler));
  if (!line.json) {
    std::cout << absl::StrFormat("%-17s %8s %5s %10s %10s %10s %10s %9s %9s\n", "POLICY", "REQUESTS", "SLO%",
                                 "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "OUT TOK/S", "TRAIN T/S");
  }
  for (const std::string& name : line.policies) {
    ASSIGN_OR_RETURN(const Policy policy, PolicyNamed(name));
    const SimulationResult r = Simulate(cost, policy, trace, options);
    if (line.json) {
      std::cout << ToJson(name, r).dump() << "\n";
      continue;
    }
    std::cout << absl::StrFormat("%-17s %8d %5.1f %7.0f ms %7.0f ms %7.1f ms %7.1f ms %9.1f %9.1f\n", name, r.requests,
                                 100 * r.attainment(), Percentile(r.ttft_ms, 0.5), Percentile(r.ttft_ms, 0.99),
                                 Percentile(r.tpot_ms, 0.5), Percentile(r.tpot_ms, 0.99), r.generated_per_second(),
                                 r.trained_per_second());
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CommandLine line;
  SimulationOptions& sim = line.simulation;
  CLI::App app{"tandem-sim replays a trace on a cost model, under every policy.", "tandem-sim"};
  app.add_option("--cost", line.cost, "A cost model that tandemd left under <state_dir>/cost")
      ->required()
      ->type_name("FILE");
  app.add_option("--beside", line.beside, "Its twin for the forward beside backward; default: no cores for that")
      ->type_name("FILE");
  app.add_option("--lane-speed", sim.lane_speed, "Of backward there, as a share of alone")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--trace", line.trace, "CSV or JSON lines of arrival, prompt and output tokens; else drawn")
      ->type_name("FILE");
  app.add_option("--policies", line.policies, "Which; default all")->delimiter(',');
  app.add_option("--rate", line.arrivals.rate, "Requests a second")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  app.add_option("--cv", line.arrivals.cv, "Of their gaps: 1 Poisson, more: bursts")
      ->check(CLI::Range(1e-3, 100.0))
      ->capture_default_str();
  app.add_option("--duration", line.duration_s, "Seconds in which requests arrive")
      ->check(CLI::Range(1e-3, 1e7))
      ->capture_default_str();
  app.add_option("--prompt-tokens", line.arrivals.prompt_tokens, "Mean")
      ->check(CLI::Range(1, kMost))
      ->capture_default_str();
  app.add_option("--output-tokens", line.arrivals.output_tokens, "Mean")
      ->check(CLI::Range(1, kMost))
      ->capture_default_str();
  app.add_option("--seed", line.arrivals.seed, "Of the arrivals")->capture_default_str();
  app.add_option("--ttft", line.ttft_ms, "Target, ms; 0: none")->check(CLI::Range(0.0, kMostMs))->capture_default_str();
  app.add_option("--tpot", line.tpot_ms, "Target, ms; 0: none")->check(CLI::Range(0.0, kMostMs))->capture_default_str();
  app.add_option("--max-iteration", line.max_iteration_ms, "With targets, ms")
      ->check(CLI::Range(1e-3, kMostMs))
      ->capture_default_str();
  app.add_option("--layers", sim.num_layers, "Of the model")->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--sample-tokens", sim.sample_tokens, "Of a training sample")
      ->check(CLI::Range(1, kMost))
      ->capture_default_str();
  app.add_option("--window", sim.backward_window, "Rows of a backward unit")
      ->check(CLI::Range(1, kMost))
      ->capture_default_str();
  app.add_option("--kv-blocks", sim.kv_blocks, "Of 16 tokens")->check(CLI::Range(1, kMost))->capture_default_str();
  app.add_option("--training-rows", sim.scheduler.training_rows_beside_inference, "Without targets")
      ->capture_default_str();
  app.add_option("--every", sim.scheduler.temporal_every, "Of the temporal policies")->capture_default_str();
  app.add_option("--share", sim.scheduler.static_training_share, "Of static_split")->capture_default_str();
  app.add_flag("--json", line.json, "JSON lines");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = Run(std::move(line));
  if (status.ok()) return 0;
  std::cerr << "tandem-sim: " << status.message() << std::endl;
  return 1;
}

}  // namespace
}  // namespace tandem::sim

int main(int argc, char** argv) {
  return tandem::sim::Main(argc, argv);
}
