// The step loop without a model: the real scheduler and policies over requests and jobs that are counts, on a clock
// that the cost model drives. Minutes of a machine take seconds, so policies are compared at sizes that no test machine
// has.
#pragma once

#include <string>
#include <vector>

#include "sched/cost_model.h"
#include "sched/policy.h"
#include "sim/trace.h"
#include "tandem/generation.h"

namespace tandem::sim {

struct SimulationOptions {
  SchedulerOptions scheduler;
  SloTargets slo;  // of every request
  int num_layers = 22;
  int kv_blocks = 4096, kv_block_size = 16;
  int sample_tokens = 256, backward_window = 64;  // of the one job that always has work
  bool training = true;
  double noise = 0.03;                            // standard deviation of the logarithm of what an iteration takes
  absl::Duration warm_up = absl::ZeroDuration();  // requests that arrive and tokens that come before do not count
  absl::Duration limit = absl::Hours(1);          // the simulation ends then, served or not
  uint64_t seed = 1;
  const CostModel* believed = nullptr;  // what the scheduler starts from; null: what iterations take
  // Of a machine where backward has cores of its own: what the forward takes beside it; null: it has none. What
  // backward gets done there meanwhile, as a share of what it does alone.
  const CostModel* beside = nullptr;
  double lane_speed = 0.55;
};

struct SimulationResult {
  int requests = 0, met = 0, unfinished = 0;  // of those after the warm-up; met: ended within both targets
  double seconds = 0;                         // simulated, after the warm-up
  int64_t generated_tokens = 0, trained_tokens = 0, iterations = 0;
  std::vector<double> ttft_ms, tpot_ms, e2e_ms;  // of each request that ended; tpot where it had two tokens
  double mean_error = 0;                         // of the cost model that the scheduler learned

  double attainment() const { return requests > 0 ? static_cast<double>(met) / requests : 1; }
  double trained_per_second() const { return seconds > 0 ? static_cast<double>(trained_tokens) / seconds : 0; }
  double generated_per_second() const { return seconds > 0 ? static_cast<double>(generated_tokens) / seconds : 0; }
};

// Iterations take what `cost` says, with noise; the scheduler learns from them. Ends when the last
// request does, at options.limit at the latest; without a request at the limit. The same input gives the same result.
SimulationResult Simulate(const CostModel& cost, Policy policy, const std::vector<TraceRequest>& trace,
                          const SimulationOptions& options);

}  // namespace tandem::sim
