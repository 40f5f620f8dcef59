// Starting a kernel, in the one way that both nvcc and the emulator of tests/cuda_emulation understand.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

// A pointer `name` of `type` to the block's dynamic shared memory, of LaunchConfig::shared_bytes.
#ifdef TANDEM_CUDA_EMULATION
#define TANDEM_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::cuda_emulation::DynamicShared())
#else
#define TANDEM_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char tandem_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(tandem_dynamic_shared)
#endif

namespace tandem::kernels {

struct LaunchConfig {
  dim3 grid = 1, block = 1;
  size_t shared_bytes = 0;  // dynamic
  cudaStream_t stream = nullptr;
};

// Arguments are converted to the kernel's parameter types. An empty grid is no error: nothing runs.
template <typename... Params, typename... Args>
cudaError_t Launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) return cudaSuccess;
  constexpr size_t kSharedWithoutAsking = 48 * 1024;
  if (config.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(config.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t launch = {};
  launch.gridDim = config.grid;
  launch.blockDim = config.block;
  launch.dynamicSmemBytes = config.shared_bytes;
  launch.stream = config.stream;
  return cudaLaunchKernelEx(&launch, kernel, static_cast<Params>(std::forward<Args>(args))...);
}

}  // namespace tandem::kernels
