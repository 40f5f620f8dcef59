#include "backend/factory.h"

#include "absl/strings/str_cat.h"
#include "base/cores.h"
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

std::string CpuInstead(const absl::Status& why) {
  return absl::StrCat("cuda: no device (", why.message(), "): serving on the CPU");
}

std::unique_ptr<Backend> CreateCpu(const BackendOptions& options) {
  return CreateCpuBackend(options.threads > 0 ? options.threads : UsableCores());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options) {
  if (options.kind == BackendKind::kCpu) return CreateCpu(options);
  absl::StatusOr<std::unique_ptr<Backend>> cuda = CreateCuda(options);
  if (cuda.ok()) return cuda;
  if (options.kind == BackendKind::kCuda) {
    return absl::FailedPreconditionError(absl::StrCat("backend is cuda: no device (", cuda.status().message(), ")"));
  }
  LOG_INFO("{}", CpuInstead(cuda.status()));
  return CreateCpu(options);
}

bool FindsDevice([[maybe_unused]] BackendKind kind) {
#ifdef TANDEM_CUDA
  return kind != BackendKind::kCpu && cuda::FindDevice().ok();
#else
  return false;
#endif
}

std::string DescribeDevice() {
#ifdef TANDEM_CUDA
  const absl::StatusOr<cuda::DeviceInfo> device = cuda::FindDevice();
  return device.ok() ? absl::StrCat("cuda: ", cuda::Describe(*device)) : CpuInstead(device.status());
#else
  return CpuInstead(CreateCuda({}).status());
#endif
}

}  // namespace tandem
