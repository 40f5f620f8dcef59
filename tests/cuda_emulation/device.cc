// The one emulated device: an sm_80 with few processors, so that grids which follow their number stay small.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "emulation.h"
#include "settings.h"

namespace cuda_emulation {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

struct Settings {
  uint64_t seed = FromEnvironment("TANDEM_CUDA_EMULATION_SEED", 1);
  size_t memory = FromEnvironment("TANDEM_CUDA_EMULATION_MEMORY_MIB", 1024) << 20;
  bool present = true;
  cudaError_t broken = cudaSuccess, last = cudaSuccess;
};
Settings& Current() {
  static Settings settings;
  return settings;
}

constexpr int kProcessors = 4;

}  // namespace

std::recursive_mutex& Lock() {
  static std::recursive_mutex lock;
  return lock;
}

uint64_t Seed() {
  return Current().seed;
}
size_t DeviceBytes() {
  return Current().memory;
}

void SetSeed(uint64_t seed) {
  const std::lock_guard lock(Lock());
  Current().seed = seed;
}
void SetMemory(size_t bytes) {
  const std::lock_guard lock(Lock());
  Current().memory = bytes;
}
void SetDevicePresent(bool present) {
  const std::lock_guard lock(Lock());
  Current().present = present;
}
void BreakDevice(cudaError_t error) {
  const std::lock_guard lock(Lock());
  Current().broken = error;
}

cudaError_t DeviceState() {
  return Current().present ? Current().broken : cudaErrorNoDevice;
}

cudaError_t Remember(cudaError_t error) {
  if (error != cudaSuccess) Current().last = error;
  return error;
}

}  // namespace cuda_emulation

using cuda_emulation::Current;
using cuda_emulation::DeviceState;
using cuda_emulation::Lock;
using cuda_emulation::Remember;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    default:
      return "another CUDA error";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  return cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(Lock());
  const cudaError_t last = Current().last;
  Current().last = DeviceState();  // a broken device stays broken
  return last;
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(Lock());
  return Current().last;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const std::lock_guard lock(Lock());
  *count = Current().present ? 1 : 0;
  return Current().present ? cudaSuccess : Remember(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return DeviceState();
}

cudaError_t cudaSetDevice(int device) {
  const std::lock_guard lock(Lock());
  if (DeviceState() != cudaSuccess) return Remember(DeviceState());
  return device == 0 ? cudaSuccess : Remember(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) return error;
  *properties = {.totalGlobalMem = cuda_emulation::DeviceBytes(),
                 .sharedMemPerBlock = 48 * 1024,
                 .sharedMemPerBlockOptin = 163 * 1024,
                 .sharedMemPerMultiprocessor = 164 * 1024,
                 .major = 8,
                 .minor = 0,
                 .multiProcessorCount = cuda_emulation::kProcessors,
                 .warpSize = 32,
                 .maxThreadsPerBlock = 1024,
                 .maxThreadsPerMultiProcessor = 2048,
                 .regsPerBlock = 65536,
                 .l2CacheSize = 4 << 20,
                 .memoryBusWidth = 512,
                 .maxGridSize = {2147483647, 65535, 65535},
                 .maxThreadsDim = {1024, 1024, 64}};
  std::snprintf(properties->name, sizeof(properties->name), "Emulated sm_80");
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return Remember(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return DeviceState();
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaDeviceReset() {
  return cudaDeviceSynchronize();
}
