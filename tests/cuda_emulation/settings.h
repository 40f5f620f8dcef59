// What the parts of the emulator share: its settings, the lock, the access to device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>

#include "cuda_runtime.h"

namespace cuda_emulation {

uint64_t Seed();
size_t DeviceBytes();

// One thread at a time is in the emulated driver.
std::recursive_mutex& Lock();

// cudaSuccess, or what every call returns instead of doing anything.
cudaError_t DeviceState();
// Remembers an error for cudaGetLastError.
cudaError_t Remember(cudaError_t error);

// Work of a stream, in turn; part of the graph while the stream is captured.
cudaError_t EnqueueWork(cudaStream_t stream, std::function<void()> work);
// Whether the stream is being captured, which then fails: for calls that a capture does not allow.
bool RefusedInCapture(cudaStream_t stream);
// The same of every capture that forbids this thread what concerns the whole device: allocating, freeing, waiting for
// it.
bool RefusedInAnyCapture();
// Runs all work of all streams.
void WaitForDevice();

// While one lives, device memory can be touched; otherwise that is a fault, as it is for a host that has a real device.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

bool IsDeviceMemory(const void* data);
bool IsPinned(const void* data);
// Ends the process where bytes around an allocation were written, and names the kernel.
void CheckGuards(const char* after);

}  // namespace cuda_emulation
