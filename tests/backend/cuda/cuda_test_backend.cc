#include "backend/cuda/cuda_backend.h"
#include "base/check.h"
#include "test_backend.h"

namespace tandem {

// Every allocation on its own, so that the emulated device (and compute-sanitizer) sees who strays. Deterministic, as
// the CPU backend always is.
std::unique_ptr<Backend> MakeTestBackend(int threads) {
  absl::StatusOr<std::unique_ptr<CudaBackend>> backend = CudaBackend::Create({.deterministic = true, .slab_bytes = 0});
  CHECK(backend.ok()) << backend.status().ToString();
  return *std::move(backend);
}

}  // namespace tandem
