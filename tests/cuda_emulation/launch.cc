// Kernels and copies as work of a stream.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "block.h"
#include "emulation.h"
#include "settings.h"
#include "symbols.h"

using cuda_emulation::EnqueueWork;
using cuda_emulation::Lock;
using cuda_emulation::Remember;

namespace cuda_emulation {
namespace {

constexpr size_t kSharedWithoutAsking = 48 * 1024, kSharedAtMost = 163 * 1024;  // sm_80
int64_t kernels_run = 0;
std::map<const void*, size_t>& SharedLimits() {
  static std::map<const void*, size_t> limits;
  return limits;
}

}  // namespace

cudaError_t EnqueueKernel(const cudaLaunchConfig_t& config, const void* function, std::function<void()> thread) {
  const std::lock_guard lock(Lock());
  const dim3 &grid = config.gridDim, &block = config.blockDim;
  const unsigned threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
      grid.z > 65535) {
    return Remember(cudaErrorInvalidConfiguration);
  }
  const auto asked = SharedLimits().find(function);
  const size_t limit = asked == SharedLimits().end() ? kSharedWithoutAsking : asked->second;
  if (config.dynamicSmemBytes > limit) return Remember(cudaErrorInvalidValue);
  return EnqueueWork(config.stream,
                     [launch = KernelLaunch{function, grid, block, config.dynamicSmemBytes, std::move(thread)}] {
                       RunKernel(launch);
                       ++kernels_run;
                       CheckGuards(NameOf(launch.function).c_str());
                     });
}

void CheckPointer(const void* function, const void* pointer) {
  const std::lock_guard lock(Lock());
  if (pointer == nullptr || IsDeviceMemory(pointer) || IsPinned(pointer)) return;
  std::fprintf(stderr, "cuda emulation: an argument of %s is an address of pageable host memory\n",
               NameOf(function).c_str());
  std::abort();
}

void CheckWords(const void* function, const void* words, size_t bytes) {
  // Where programs, heaps, libraries and stacks lie; two numbers in one word seldom do.
  const std::lock_guard lock(Lock());
  constexpr uintptr_t kFirst = uintptr_t{0x5000} << 32, kLast = uintptr_t{0x8000} << 32, kPage = 4096;
  for (size_t at = 0; at + sizeof(uintptr_t) <= bytes; at += sizeof(uintptr_t)) {
    uintptr_t word;
    std::memcpy(&word, static_cast<const char*>(words) + at, sizeof word);
    if (word < kFirst || word >= kLast) continue;
    const void* pointer = reinterpret_cast<const void*>(word);
    unsigned char resident;
    if (IsDeviceMemory(pointer) || IsPinned(pointer)) continue;
    if (mincore(reinterpret_cast<void*>(word / kPage * kPage), 1, &resident) == 0) CheckPointer(function, pointer);
  }
}

int64_t KernelsRun() {
  const std::lock_guard lock(Lock());
  return kernels_run;
}

}  // namespace cuda_emulation

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const std::lock_guard lock(Lock());
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > cuda_emulation::kSharedAtMost) return Remember(cudaErrorInvalidValue);
  cuda_emulation::SharedLimits()[function] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width_bytes,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  if (to_pitch < width_bytes || from_pitch < width_bytes) return Remember(cudaErrorInvalidValue);
  const auto pageable = [](const void* data) {
    return !cuda_emulation::IsDeviceMemory(data) && !cuda_emulation::IsPinned(data);
  };
  const bool from_pageable = pageable(from), to_pageable = pageable(to);
  if ((from_pageable || to_pageable) && cuda_emulation::RefusedInCapture(stream)) {
    return cudaErrorStreamCaptureUnsupported;
  }
  std::vector<char> staged;  // pageable memory is read before the call returns, and written before it too
  if (from_pageable) {
    staged.resize(width_bytes * height);
    for (size_t row = 0; row < height; ++row) {
      std::memcpy(staged.data() + row * width_bytes, static_cast<const char*>(from) + row * from_pitch, width_bytes);
    }
    from_pitch = width_bytes;
  }
  const cudaError_t error = EnqueueWork(stream, [=, staged = std::move(staged)] {
    const char* source = from_pageable ? staged.data() : static_cast<const char*>(from);
    for (size_t row = 0; row < height; ++row) {
      std::memmove(static_cast<char*>(to) + row * to_pitch, source + row * from_pitch, width_bytes);
    }
    cuda_emulation::CheckGuards("a copy");
  });
  return error == cudaSuccess && to_pageable ? cudaStreamSynchronize(stream) : error;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return bytes == 0 ? cudaSuccess : cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  return EnqueueWork(stream, [=] {
    std::memset(data, value, bytes);
    cuda_emulation::CheckGuards("cudaMemset");
  });
}

cudaError_t cudaMemset(void* data, int value, size_t bytes) {
  return cudaMemsetAsync(data, value, bytes, nullptr);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* data) {
  const std::lock_guard lock(Lock());
  return EnqueueWork(stream, [=] { function(data); });
}
