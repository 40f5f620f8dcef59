// The CUDA backend: on a real device, and (ops_test_cuda_emulated) on the emulated one.
#include "backend/cuda/cuda_backend.h"
#include "ops/op_test.h"

namespace tandem::optest {
namespace {

#ifdef TANDEM_CUDA_EMULATION
constexpr bool kSlow = true;
#else
constexpr bool kSlow = false;
#endif

std::unique_ptr<Backend> Create() {
  // Every allocation on its own, so that what checks bounds sees them.
  auto backend = CudaBackend::Create({.deterministic = true, .slab_bytes = 0});
  return backend.ok() ? std::move(*backend) : nullptr;
}

}  // namespace

std::vector<BackendKind> TestBackends() {
  return {{.name = "Cuda", .create = Create, .splits_change_no_bit = false, .slow = kSlow}};
}

}  // namespace tandem::optest
