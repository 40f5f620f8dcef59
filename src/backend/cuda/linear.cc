// Products with the backbone's weights: plain, and their gradient with respect to the input.
#include "backend/cuda/cuda_backend.h"

namespace tandem {

void CudaBackend::Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "Linear");
  matmul_.Run({.a = x.data,
               .b = CudaMatrix::Of(w).data(),
               .out = y.data,
               .type = x.dtype,
               .out_type = y.dtype,
               .m = x.rows(),
               .n = w.rows(),
               .k = w.columns(),
               .transposed = true,
               .accumulate = mode == Accumulate::kYes});
}

void CudaBackend::LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "LinearBackwardInput");
  matmul_.Run({.a = dy.data,
               .b = CudaMatrix::Of(w).data(),
               .out = dx.data,
               .type = dy.dtype,
               .out_type = dx.dtype,
               .m = dy.rows(),
               .n = w.columns(),
               .k = w.rows(),
               .transposed = false,
               .accumulate = mode == Accumulate::kYes});
}

}  // namespace tandem
