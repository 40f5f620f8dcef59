// How the emulated device behaves: for tests of the emulator and of what runs on it. Not part of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda_runtime.h"

namespace cuda_emulation {

// Decides the order of blocks and of threads; also TANDEM_CUDA_EMULATION_SEED in the environment. Default 1.
void SetSeed(uint64_t seed);
// Of the device; also TANDEM_CUDA_EMULATION_MEMORY_MIB. Default 1 GiB.
void SetMemory(size_t bytes);
// Whether there is a device; false: cudaErrorNoDevice.
void SetDevicePresent(bool present);
// From the next kernel on every call returns `error`, as after a fault on a real device; cudaSuccess ends that.
void BreakDevice(cudaError_t error);

// So far, in this process.
int64_t KernelsRun();
int64_t BytesAllocated();
// Times that ldmatrix met banks of shared memory which rows of the same matrix had met: on a GPU each is a pass more.
int64_t BankConflicts();

}  // namespace cuda_emulation
