#include "kernels/embedding.h"

#include "backend/cuda/cuda_backend.h"

namespace tandem {

void CudaBackend::Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "Embedding");
  const CudaMatrix& from = CudaMatrix::Of(table);
  runtime_.Launch(kernels::LaunchGatherRows, kernels::RowCopyArgs{.from_type = cuda::TypeOf(from.dtype()),
                                                                  .to_type = cuda::TypeOf(x.dtype),
                                                                  .from = from.data(),
                                                                  .numbers = runtime_.ToDevice(ids).data(),
                                                                  .below_zero = runtime_.drawn(),
                                                                  .to = x.data,
                                                                  .rows = x.rows(),
                                                                  .columns = x.shape[1]});
}

void CudaBackend::GatherRows(const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "GatherRows");
  runtime_.Launch(kernels::LaunchGatherRows, kernels::RowCopyArgs{.from_type = cuda::TypeOf(x.dtype),
                                                                  .to_type = cuda::TypeOf(y.dtype),
                                                                  .from = x.data,
                                                                  .numbers = runtime_.ToDevice(rows).data(),
                                                                  .to = y.data,
                                                                  .rows = y.rows(),
                                                                  .columns = y.shape[1]});
}

}  // namespace tandem
