// Times every operation of the Backend seam at the shapes of tests/ops/cases.h, beside the limits of the machine:
//
//   ops_benchmark [--threads=N] [--benchmark_filter='linear/bf16/m:1/.*']
//
// Counters come from the fastest iteration: on a shared machine a neighbour only ever takes away. With one thread time
// is that thread's CPU time, which a preemption does not count.
//   GFLOP/s  GB/s        by the flops and the least traffic of the case
//   peak_%   stream_%    of the multiply-add peak and of the memory stream, measured at the start of the same run
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "limits/limits.h"
#include "ops/prepared_op.h"

namespace tandem::optest {
namespace {

// Operands are rotated through more memory than the last-level cache holds: in a model the next layer's weights are
// cold.
constexpr double kColdBytes = 192e6;

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void Run(benchmark::State& state, const Case& c, int num_threads, const MachineLimits& limits) {
  const std::unique_ptr<Backend> backend = CreateCpuBackend(num_threads);
  std::vector<std::unique_ptr<PreparedOp>> copies;
  const int num_copies = std::clamp(static_cast<int>(kColdBytes / Bytes(c)), 1, 32);
  for (int i = 0; i < num_copies; ++i) copies.push_back(std::make_unique<PreparedOp>(c, *backend, i));
  const clockid_t clock = num_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  double best = 1e30;
  size_t next = 0;
  for (auto _ : state) {
    PreparedOp& op = *copies[next++ % copies.size()];
    const double start = Seconds(clock);
    op.Run();
    const double elapsed = Seconds(clock) - start;
    state.SetIterationTime(elapsed);
    best = std::min(best, elapsed);
  }
  state.counters["best_us"] = best * 1e6;
  state.counters["GFLOP/s"] = Flops(c) / best * 1e-9;
  state.counters["peak_%"] = 100 * Flops(c) / best / limits.flops_per_second;
  state.counters["GB/s"] = Bytes(c) / best * 1e-9;
  state.counters["stream_%"] = 100 * Bytes(c) / best / limits.read_bytes_per_second;
}

// Takes --threads=N out of the arguments; 1 without it.
int TakeThreads(int* argc, char** argv) {
  constexpr char kFlag[] = "--threads=";
  int threads = 1, kept = 0;
  for (int i = 0; i < *argc; ++i) {
    if (std::strncmp(argv[i], kFlag, std::strlen(kFlag)) == 0) {
      threads = std::max(1, std::atoi(argv[i] + std::strlen(kFlag)));
    } else {
      argv[kept++] = argv[i];
    }
  }
  *argc = kept;
  return threads;
}

}  // namespace
}  // namespace tandem::optest

int main(int argc, char** argv) {
  using namespace tandem;  // NOLINT(google-build-using-namespace)
  const int threads = optest::TakeThreads(&argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const MachineLimits limits = MeasureMachineLimits(threads);
  benchmark::AddCustomContext("backend", CreateCpuBackend(threads)->name());
  benchmark::AddCustomContext("peak GFLOP/s", std::to_string(limits.flops_per_second * 1e-9));
  benchmark::AddCustomContext("bf16 dot peak GFLOP/s", std::to_string(limits.bf16_flops_per_second * 1e-9));
  benchmark::AddCustomContext("stream GB/s", std::to_string(limits.read_bytes_per_second * 1e-9));
  for (const optest::Op op : optest::AllOps()) {
    for (const optest::Case& c : optest::SpeedCases(op)) {
      benchmark::RegisterBenchmark(optest::Name(c).c_str(),
                                   [=](benchmark::State& state) { optest::Run(state, c, threads, limits); })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
