// What deciding costs: the policy as a pure function at 256 running sequences and 8 jobs, by rows and by time, and one
// correction of the cost model. To be less than 1 % of the iteration that it plans.
#include "benchmark/benchmark.h"
#include "sched/coserving.h"
#include "sched/cost_model.h"

namespace tandem {
namespace {

constexpr int kSequences = 256, kJobs = 8, kLayers = 22, kUnitsOfLayer = 4;

CostModel MakeCost() {
  return CostModel({.rows = {{1, 50e-3}, {8, 50e-3}, {16, 96e-3}, {512, 3.0}},
                    .samples = {{1, 3e-3}, {128, 40e-3}},
                    .loss = {{1, 6e-3}, {256, 0.15}},
                    .backward = {{8, 2e-3}, {256, 75e-3}},
                    .overhead = 2e-4,
                    .per_span = 1e-6,
                    .per_decode_token = 2e-7,
                    .per_prefill_pair = 1e-7,
                    .per_training_row = 1e-5,
                    .per_backward_pair = 2e-7});
}

SchedulerInput MakeInput(const CostModel* cost) {
  SchedulerInput input{.num_blocks = 65536, .free_blocks = 32768, .num_layers = kLayers, .cost = cost};
  input.now = absl::UnixEpoch() + absl::Seconds(1000);
  for (int i = 0; i < kSequences; ++i) {
    input.inference.spans.push_back({.sequence = i + 1,
                                     .kind = i % 16 == 0 ? SpanKind::kPrefill : SpanKind::kDecode,
                                     .ready_rows = i % 16 == 0 ? 300 : 1,
                                     .first_position = 100 + i,
                                     .arrival = input.now - absl::Seconds(kSequences - i),
                                     .due = input.now + absl::Seconds(4) + absl::Milliseconds(i),
                                     .tpot = absl::Seconds(4)});
  }
  for (int job = 0; job < kJobs; ++job) {
    input.training.spans.push_back({.sequence = 1000 + job, .kind = SpanKind::kTrainForward, .ready_rows = 128});
    input.training.backward.push_back(
        {.job = job, .sequence = 2000 + job, .unit_rows = std::vector<int>(kLayers * kUnitsOfLayer, 128)});
  }
  return input;
}

void PlanByRows(benchmark::State& state) {
  const SchedulerInput input = MakeInput(nullptr);
  const SchedulerOptions options{.max_running_requests = kSequences};
  for (auto _ : state) benchmark::DoNotOptimize(PlanCoserving(options, input));
}

void PlanByTime(benchmark::State& state) {
  const CostModel cost = MakeCost();
  const SchedulerInput input = MakeInput(&cost);
  const SchedulerOptions options{.max_running_requests = kSequences, .max_iteration = absl::Seconds(5)};
  for (auto _ : state) benchmark::DoNotOptimize(PlanCoserving(options, input));
}

void Correction(benchmark::State& state) {
  CostModel cost = MakeCost();
  StepFeatures features;
  for (int i = 0; i < kSequences; ++i) features.AddSpan(SpanKind::kDecode, 1, 100);
  features.samples = kSequences;
  const absl::Duration measured = cost.Predict(features);
  for (auto _ : state) benchmark::DoNotOptimize(cost.Observe(features, measured));
}

BENCHMARK(PlanByRows)->Unit(benchmark::kMicrosecond);
BENCHMARK(PlanByTime)->Unit(benchmark::kMicrosecond);
BENCHMARK(Correction)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem

BENCHMARK_MAIN();
