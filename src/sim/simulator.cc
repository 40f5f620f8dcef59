#include "sim/simulator.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "kv/block_pool.h"
#include "sched/scheduler.h"
#include "sim/sources.h"

namespace tandem::sim {
namespace {

// No work at all: what stands for training where there is none.
class NoWork final : public WorkSource {
 public:
  Offers CollectOffers(absl::Time now) const override { return {}; }
  void Emit(const Grants& grants, Batch& batch) override {}
  void Commit(const Batch& batch, const StepResult& result, absl::Time now) override {}
};

// What runs the batches. Each call returns what the batch takes and says in `result` how far backward came.
class SimulatedMachine {
 public:
  SimulatedMachine(const CostModel& cost, const SimulationOptions& options)
      : cost_(cost), beside_(options.beside), lane_speed_(options.lane_speed) {}

  // From `now` on; backward gives way at the first unit's end after `arrival`.
  absl::Duration Run(const Batch& batch, absl::Time now, absl::Time arrival, double factor, StepResult& result) {
    if (beside_ != nullptr && batch.backward_beside && batch.num_rows() > 0) return RunBeside(batch, factor, result);
    lane_seconds_ = 0;  // what was begun there is begun anew: a little worse than the real machine
    const int units = static_cast<int>(batch.backward.size());
    int ran = 0;
    const auto took = [&](int n) { return absl::Seconds(factor * cost_.Seconds(FeaturesOf(batch, n))); };
    absl::Duration spent = units > 0 && batch.spans.empty() ? absl::ZeroDuration() : took(0);
    while (ran < units && now + spent < arrival) spent = took(++ran);
    result.backward_skipped = units - ran;
    return std::max(spent, absl::Microseconds(1));
  }

 private:
  absl::Duration RunBeside(const Batch& batch, double factor, StepResult& result) {
    const double seconds = factor * beside_->Seconds(FeaturesOf(batch, 0));
    lane_seconds_ += seconds * lane_speed_;
    result.backward_skipped = static_cast<int>(batch.backward.size());
    for (const BackwardUnit& unit : batch.backward) {
      StepFeatures features;
      features.AddBackward(unit.window.num_rows(), unit.window.begin);
      const double needs = cost_.Seconds(features);
      if (needs > lane_seconds_) break;
      lane_seconds_ -= needs;
      --result.backward_skipped;
    }
    result.time = StepResult::Time::kOfForwardBeside;
    if (result.backward_skipped == 0) {
      lane_seconds_ = 0;
      result.time = StepResult::Time::kMixed;
    }
    return absl::Seconds(seconds);
  }

  const CostModel& cost_;
  const CostModel* const beside_;
  const double lane_speed_;
  double lane_seconds_ = 0;  // spent on the unit that is under way on the lane, as if it ran alone
};

void Evaluate(const SimulatedInference& inference, absl::Time from, const SloTargets& slo, SimulationResult& result) {
  for (const RequestOutcome& outcome : inference.outcomes()) {
    if (outcome.arrival < from) continue;
    ++result.requests;
    const absl::Duration ttft = outcome.first_token - outcome.arrival;
    const int later = outcome.output_tokens - 1;
    const absl::Duration tpot = later > 0 ? (outcome.last_token - outcome.first_token) / later : absl::ZeroDuration();
    result.ttft_ms.push_back(absl::ToDoubleMilliseconds(ttft));
    if (later > 0) result.tpot_ms.push_back(absl::ToDoubleMilliseconds(tpot));
    result.e2e_ms.push_back(absl::ToDoubleMilliseconds(outcome.last_token - outcome.arrival));
    result.met += ttft <= slo.ttft && tpot <= slo.tpot ? 1 : 0;
  }
  result.unfinished = inference.unfinished();
  result.requests += result.unfinished;
}

}  // namespace

SimulationResult Simulate(const CostModel& cost, Policy policy, const std::vector<TraceRequest>& trace,
                          const SimulationOptions& options) {
  BlockPool pool(options.kv_blocks, options.kv_block_size);
  SequenceIds ids;
  SimulatedInference inference(trace, options.slo, &pool, &ids);
  SimulatedTraining training({options.num_layers, options.sample_tokens, options.backward_window}, &pool, &ids);
  NoWork none;
  WorkSource* const second = options.training ? static_cast<WorkSource*>(&training) : &none;
  CostModel learned = options.believed != nullptr ? *options.believed : cost;
  CostModel learned_beside = options.beside != nullptr ? *options.beside : cost;
  SimulatedMachine machine(cost, options);
  Scheduler scheduler({.inference = &inference,
                       .training = second,
                       .pool = &pool,
                       .num_layers = options.num_layers,
                       .options = options.scheduler,
                       .policy = policy,
                       .cost = &learned,
                       .beside = options.beside != nullptr ? &learned_beside : nullptr});
  std::mt19937_64 random(options.seed);
  std::normal_distribution<double> noise(0, 1);

  SimulationResult result;
  const absl::Time start = absl::UnixEpoch(), from = start + options.warm_up, limit = start + options.limit;
  absl::Time now = start;
  int64_t trained_before = 0;
  while (now < limit && (trace.empty() || !inference.done())) {
    inference.Arrive(now);
    const Batch batch = scheduler.Next(now);
    if (batch.empty()) {
      now = std::min(limit, std::max(inference.next_arrival(), now + absl::Microseconds(1)));
      continue;
    }
    StepResult step;
    const double factor = std::exp(options.noise * noise(random));
    const absl::Duration took = machine.Run(batch, now, inference.next_arrival(), factor, step);
    if (now < from) trained_before = training.trained_tokens();
    now += took;
    scheduler.Observe(batch, step, absl::ZeroDuration(), took);
    inference.Commit(batch, step, now);
    second->Commit(batch, step, now);
    ++result.iterations;
    if (now >= from) result.generated_tokens += static_cast<int64_t>(batch.samples.size());
  }
  result.seconds = std::max(0.0, absl::ToDoubleSeconds(now - from));
  result.trained_tokens = training.trained_tokens() - trained_before;
  result.mean_error = scheduler.mean_error();
  Evaluate(inference, from, options.slo, result);
  return result;
}

}  // namespace tandem::sim
