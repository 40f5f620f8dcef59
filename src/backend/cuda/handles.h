// Owners of what the CUDA runtime gives out.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <type_traits>

namespace tandem::cuda {

namespace internal {
template <auto kDestroy>
struct Destroyer {
  template <typename T>
  void operator()(T* handle) const {
    kDestroy(handle);
  }
};
}  // namespace internal

using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, internal::Destroyer<cudaStreamDestroy>>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, internal::Destroyer<cudaEventDestroy>>;
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, internal::Destroyer<cudaGraphExecDestroy>>;
// Host memory that the device copies from and to on its own.
using Pinned = std::unique_ptr<char, internal::Destroyer<cudaFreeHost>>;

}  // namespace tandem::cuda
