// Times every operation of the Backend seam at the shapes of tests/ops/cases.h, beside the limits of the machine:
//
//   ops_benchmark [--device=cpu|cuda] [--threads=N] [--benchmark_filter='linear/bf16/m:1/.*']
//
// Counters come from the fastest iteration: on a shared machine a neighbour only ever takes away. With one thread time
// is that thread's CPU time, which a preemption does not count. On CUDA an iteration is kQueued calls and a wait.
//   GFLOP/s  GB/s        by the flops and the least traffic of the case
//   peak_%   stream_%    of the multiply-add peak and of the memory stream, measured at the start of the same run
//   (CUDA:
//                        of a large bf16 product and of a device copy)
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "backend/factory.h"
#include "base/check.h"
#include "limits/device_limits.h"
#include "ops/prepared_op.h"

namespace tandem::optest {
namespace {

// Operands are rotated through more memory than the last-level cache holds: in a model the next layer's weights are
// cold.
constexpr double kColdBytes = 192e6;
// Of a device that works on its own: calls between two waits, so that no wait is timed; they are replayed where that
// can be (RunRepeated), so that small kernels are timed and not their launches.
constexpr int kQueued = 20;
constexpr int kDeviceRounds = 20;  // of so many calls; a fixed number, because operands of gigabytes are made only once

struct Device {
  bool cuda = false;
  int threads = 1;
  MachineLimits limits = {};
  std::unique_ptr<Backend> backend = nullptr;
};

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void Run(benchmark::State& state, const Case& c, const Device& device) {
  std::vector<std::unique_ptr<PreparedOp>> copies;
  const int num_copies = std::clamp(static_cast<int>(kColdBytes / Bytes(c)), 1, 32);
  for (int i = 0; i < num_copies; ++i) copies.push_back(std::make_unique<PreparedOp>(c, *device.backend, i));
  const int calls = device.cuda ? kQueued : 1;
  const clockid_t clock = device.threads == 1 && !device.cuda ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const uint64_t key = std::hash<std::string>()(Name(c));
  double best = 1e30;
  size_t next = 0;
  for (auto _ : state) {
    const double start = Seconds(clock);
    device.backend->RunRepeated(key, [&] {
      for (int i = 0; i < calls; ++i) copies[(next + i) % copies.size()]->Enqueue();
    });
    if (calls == 1) next = (next + 1) % copies.size();
    const absl::Status status = device.backend->Finish();
    const double elapsed = (Seconds(clock) - start) / calls;
    CHECK(status.ok()) << status.ToString();
    state.SetIterationTime(elapsed);
    best = std::min(best, elapsed);
  }
  state.counters["best_us"] = best * 1e6;
  state.counters["GFLOP/s"] = Flops(c) / best * 1e-9;
  state.counters["peak_%"] = 100 * Flops(c) / best / device.limits.flops_per_second;
  state.counters["GB/s"] = Bytes(c) / best * 1e-9;
  state.counters["stream_%"] = 100 * Bytes(c) / best / device.limits.read_bytes_per_second;
}

// Takes `flag` out of the arguments; `otherwise` without it.
std::string Take(std::string_view flag, const std::string& otherwise, int* argc, char** argv) {
  std::string value = otherwise;
  int kept = 0;
  for (int i = 0; i < *argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(flag)) {
      value = argument.substr(flag.size());
    } else {
      argv[kept++] = argv[i];
    }
  }
  *argc = kept;
  return value;
}

int Main(int argc, char** argv) {
  Device device;
  device.threads = std::max(1, std::atoi(Take("--threads=", "1", &argc, argv).c_str()));
  device.cuda = Take("--device=", "cpu", &argc, argv) == "cuda";
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  auto backend =
      CreateBackend({.kind = device.cuda ? BackendKind::kCuda : BackendKind::kCpu, .threads = device.threads});
  if (!backend.ok()) {
    std::cerr << "ops_benchmark: " << backend.status().message() << "\n";
    return 1;
  }
  device.backend = *std::move(backend);
  device.limits = device.cuda ? MeasureDeviceLimits(*device.backend) : MeasureMachineLimits(device.threads);
  benchmark::AddCustomContext("backend", device.backend->name());
  benchmark::AddCustomContext("peak GFLOP/s", std::to_string(device.limits.flops_per_second * 1e-9));
  benchmark::AddCustomContext("bf16 dot peak GFLOP/s", std::to_string(device.limits.bf16_flops_per_second * 1e-9));
  benchmark::AddCustomContext("stream GB/s", std::to_string(device.limits.read_bytes_per_second * 1e-9));
  for (const Op op : AllOps()) {
    for (const Case& c : device.cuda ? DeviceSpeedCases(op) : SpeedCases(op)) {
      auto* run = benchmark::RegisterBenchmark(Name(c).c_str(),
                                               [&device, c](benchmark::State& state) { Run(state, c, device); });
      run->UseManualTime()->Unit(benchmark::kMicrosecond);
      if (device.cuda) run->Iterations(kDeviceRounds);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace tandem::optest

int main(int argc, char** argv) {
  return tandem::optest::Main(argc, argv);
}
