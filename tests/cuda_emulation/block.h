// Runs a kernel: its blocks one after another, a block's threads as fibers that take turns.
#pragma once

#include <functional>
#include <string>

#include "cuda_runtime.h"

namespace cuda_emulation {

struct KernelLaunch {
  const void* function = nullptr;  // for its name and its static shared memory
  dim3 grid, block;
  size_t shared_bytes = 0;
  std::function<void()> thread;
};

// Blocks, and threads within each, run in an order that the seed (emulation.h) decides. Shared memory is poisoned
// before each block. Threads that can never go on end the process with a report of where they wait.
void RunKernel(const KernelLaunch& launch);

// "kernel X, block (0, 0, 0), thread (3, 0, 0)", or "" outside of kernels.
std::string Position();

}  // namespace cuda_emulation
