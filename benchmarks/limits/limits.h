// What the machine at hand can do at most: the yardstick of every other benchmark, measured in the same run.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "base/thread_pool.h"

namespace tandem {

struct MachineLimits {
  double flops_per_second = 0;       // fp32 fused multiply-adds from registers, two each
  double bf16_flops_per_second = 0;  // bf16 dot products summed in fp32, operands in L1; 0 where the CPU has none
  double read_bytes_per_second = 0;  // a sum over more memory than any cache holds, in huge pages
};

// A plain read of more memory than any cache holds, by all `num_threads` at once, in huge pages.
class MemoryStream {
 public:
  explicit MemoryStream(int num_threads);
  double Read(double bytes);  // bytes per second over that many bytes, rounded up to whole passes

 private:
  ThreadPool pool_;
  std::unique_ptr<void, decltype(&std::free)> data_;
  std::vector<float> sums_;
};

// All `num_threads` at once; the best of several rounds, since a neighbour only ever takes away. About a second.
MachineLimits MeasureMachineLimits(int num_threads);

}  // namespace tandem
