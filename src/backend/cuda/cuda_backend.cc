#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "kernels/copy.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

// Sizes that a batch of decode is padded to: each has its graph.
constexpr int kFinest = 8, kLargestPadded = 512;

}  // namespace

CudaMatrix::CudaMatrix(cuda::Runtime& runtime, const TensorView& host) : runtime_(runtime), view_(host) {
  std::vector<uint16_t> rounded;
  const void* from = host.data;
  if (host.dtype == DType::kF16) {
    const uint16_t* halves = static_cast<const uint16_t*>(host.data);
    for (int64_t i = 0; i < host.shape.num_elements(); ++i) rounded.push_back(F32ToBf16(F16ToF32(halves[i])));
    from = rounded.data();
    view_.dtype = DType::kBf16;
  }
  view_.data = runtime.Allocate(view_.size_bytes());
  runtime.UploadBytes(from, view_.data, view_.size_bytes());
}

CudaMatrix::~CudaMatrix() {
  runtime_.Free(view_.data);
}

CudaBackend::CudaBackend(const CudaOptions& options, std::unique_ptr<cuda::Runtime> runtime)
    : options_(options),
      runtime_owner_(std::move(runtime)),
      runtime_(*runtime_owner_),
      matmul_(runtime_, options.deterministic) {}

absl::StatusOr<std::unique_ptr<CudaBackend>> CudaBackend::Create(const CudaOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<cuda::Runtime> runtime, cuda::Runtime::Create(options.slab_bytes));
  return std::unique_ptr<CudaBackend>(new CudaBackend(options, std::move(runtime)));
}

std::string CudaBackend::name() const {
  return absl::StrCat("cuda (", cuda::Describe(runtime_.device()), options_.deterministic ? ", deterministic)" : ")");
}

std::unique_ptr<Matrix> CudaBackend::CreateMatrix(const TensorView& host) {
  return std::make_unique<CudaMatrix>(runtime_, host);
}

void CudaBackend::UpdateMatrix(Matrix& matrix, const TensorView& weight) {
  Copy(weight, static_cast<CudaMatrix&>(matrix).view());
}

DType CudaBackend::ActivationDType(DType weights) const {
  return weights == DType::kF32 ? DType::kF32 : DType::kBf16;
}

void CudaBackend::Copy(const TensorView& from, const TensorView& to) {
  const cuda::Runtime::Op op(runtime_, "Copy");
  if (from.dtype != to.dtype) {
    runtime_.Launch(kernels::LaunchConvert, kernels::ConvertArgs{.from = from.data,
                                                                 .to = to.data,
                                                                 .from_type = cuda::TypeOf(from.dtype),
                                                                 .to_type = cuda::TypeOf(to.dtype),
                                                                 .n = to.shape.num_elements()});
    return;
  }
  cuda::Fingerprint print;
  print.Add(from.data);
  print.Add(to.data);
  print.Add(to.size_bytes());
  runtime_.Enqueue(print, [&](cudaStream_t stream) {
    return cudaMemcpyAsync(to.data, from.data, to.size_bytes(), cudaMemcpyDeviceToDevice, stream);
  });
}

void CudaBackend::Zero(const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "Zero");
  cuda::Fingerprint print;
  print.Add(x.data);
  print.Add(x.size_bytes());
  runtime_.Enqueue(print, [&](cudaStream_t stream) { return cudaMemsetAsync(x.data, 0, x.size_bytes(), stream); });
}

void CudaBackend::Upload(const TensorView& host, const TensorView& to) {
  const cuda::Runtime::Op op(runtime_, "Upload");
  cuda::Fingerprint print;
  print.Add(host.data);
  print.Add(to.data);
  print.Add(to.size_bytes());
  // Memory that is not pinned is read before the call returns.
  runtime_.Enqueue(print, [&](cudaStream_t stream) {
    return cudaMemcpyAsync(to.data, host.data, to.size_bytes(), cudaMemcpyHostToDevice, stream);
  });
}

void CudaBackend::UploadFresh(const TensorView& host, const TensorView& to) {
  runtime_.UploadBytes(host.data, to.data, to.size_bytes());
}

void CudaBackend::Download(const TensorView& from, const TensorView& host) {
  const cuda::Runtime::Op op(runtime_, "Download");
  runtime_.FetchBytes(from.data, host.data, host.size_bytes());
}

void CudaBackend::RunRepeated(uint64_t key, const std::function<void()>& body) {
  if (!options_.graphs) return body();
  runtime_.RunRepeated(key, body);
}

// 1, 2, 4, 8, 16, 24, ... 512.
int CudaBackend::PaddedRows(int rows) const {
  if (!options_.graphs || rows > kLargestPadded) return rows;
  for (int padded = 1; padded < kFinest; padded *= 2) {
    if (rows <= padded) return padded;
  }
  return (rows + kFinest - 1) / kFinest * kFinest;
}

}  // namespace tandem
