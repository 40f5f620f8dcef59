#include "backend/factory.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#ifdef TANDEM_CUDA
#include "backend/cuda/cuda_backend.h"
#endif

namespace tandem {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> CreateCuda(const BackendOptions& options) {
#ifdef TANDEM_CUDA
  return CudaBackend::Create({.deterministic = options.deterministic});
#else
  return absl::UnavailableError("this binary was built without it");
#endif
}

std::unique_ptr<Backend> CreateCpu(const BackendOptions& options) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return CreateCpuBackend(options.threads > 0 ? options.threads : cores);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options) {
  if (options.kind == BackendKind::kCpu) return CreateCpu(options);
  absl::StatusOr<std::unique_ptr<Backend>> cuda = CreateCuda(options);
  if (cuda.ok()) return cuda;
  if (options.kind == BackendKind::kCuda) {
    return absl::FailedPreconditionError(absl::StrCat("backend is cuda: no device (", cuda.status().message(), ")"));
  }
  LOG_INFO("cuda: no device ({}): serving on the CPU", std::string(cuda.status().message()));
  return CreateCpu(options);
}

}  // namespace tandem
