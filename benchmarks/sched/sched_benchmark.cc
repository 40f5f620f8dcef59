// What deciding costs: the policy as a pure function at 256 running sequences of 64 adapters and 8 jobs, by rows and by
// time, and one correction of the cost model. To be less than 1 % of the iteration that it plans.
#include "benchmark/benchmark.h"
#include "sched/coserving.h"
#include "sched/cost_model.h"

namespace tandem {
namespace {

constexpr int kSequences = 256, kAdapters = 64, kJobs = 8, kLayers = 22, kUnitsOfLayer = 4;

CostModel MakeCost() {
  return CostModel({.num_layers = kLayers, .layer_parameters = 44e6, .head_parameters = 65e6, .query_width = 2048});
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
                                     .tpot = absl::Seconds(4),
                                     .bypass = i % (kAdapters + 1) != 0});
  }
  for (int job = 0; job < kJobs; ++job) {
    input.training.spans.push_back({.sequence = 1000 + job, .kind = SpanKind::kTrainForward, .ready_rows = 128});
    input.training.backward.push_back(
        {.job = job, .sequence = 2000 + job, .units = std::vector<TokenWindow>(kLayers * kUnitsOfLayer, {0, 128})});
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
