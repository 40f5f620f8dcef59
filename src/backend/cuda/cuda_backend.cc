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

std::vector<uint16_t> InBf16(const TensorView& host) {
  std::vector<uint16_t> rounded(host.shape.num_elements());
  for (size_t i = 0; i < rounded.size(); ++i) {
    rounded[i] =
        F32ToBf16(host.dtype == DType::kF16 ? F16ToF32(static_cast<const uint16_t*>(host.data)[i]) : host.f32()[i]);
  }
  return rounded;
}

}  // namespace

CudaMatrix::CudaMatrix(cuda::Runtime& runtime, const TensorView& host, Copies copies)
    : runtime_(runtime), view_(host), bf16_copy_{nullptr, DType::kBf16, host.shape} {
  const auto upload = [&runtime](const void* from, TensorView& to) {
    to.data = runtime.Allocate(to.size_bytes());
    runtime.UploadBytes(from, to.data, to.size_bytes());
  };
  const std::vector<uint16_t> rounded = copies == Copies::kBf16Too || host.dtype == DType::kF16
                                            ? InBf16(host)  //
                                            : std::vector<uint16_t>();
  if (host.dtype == DType::kF16) {
    view_.dtype = DType::kBf16;
    upload(rounded.data(), view_);
  } else {
    upload(host.data, view_);
    if (copies == Copies::kBf16Too) upload(rounded.data(), bf16_copy_);
  }
}

CudaMatrix::~CudaMatrix() {
  runtime_.Free(view_.data);
  if (bf16_copy_.data != nullptr) runtime_.Free(bf16_copy_.data);
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
  if (host.dtype != DType::kF32) bf16_backbone_ = true;
  const bool beside_bf16 = host.dtype == DType::kF32 && bf16_backbone_;
  return std::make_unique<CudaMatrix>(runtime_, host,
                                      beside_bf16 ? CudaMatrix::Copies::kBf16Too : CudaMatrix::Copies::kOne);
}

void CudaBackend::UpdateMatrix(Matrix& matrix, const TensorView& weight) {
  const CudaMatrix& own = CudaMatrix::Of(matrix);
  Copy(weight, own.view());
  if (own.bf16_copy().data != nullptr) Copy(weight, own.bf16_copy());
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
