// Routed experts. Who was chosen steers the host, which gathers rows expert by expert: Route and RowDots wait.
#include "kernels/moe.h"

#include "backend/cuda/cuda_backend.h"
#include "kernels/embedding.h"

namespace tandem {

void CudaBackend::Route(const TensorView& logits, const RouterOptions& options, std::span<int32_t> experts,
                        std::span<float> weights) {
  const cuda::Runtime::Op op(runtime_, "Route");
  int32_t* const device_experts = runtime_.Scratch<int32_t>(experts.size());
  float* const device_weights = runtime_.Scratch<float>(weights.size());
  runtime_.Launch(kernels::LaunchRoute, kernels::RouteArgs{.logits = logits.f32(),
                                                           .rows = logits.rows(),
                                                           .num_experts = static_cast<int>(logits.shape[1]),
                                                           .top_k = options.top_k,
                                                           .normalize = options.normalize,
                                                           .experts = device_experts,
                                                           .weights = device_weights});
  runtime_.Fetch(device_experts, experts);
  runtime_.Fetch(device_weights, weights);
}

void CudaBackend::RouteBackward(const TensorView& logits, const RouterOptions& options,
                                std::span<const int32_t> experts, std::span<const float> dweights,
                                const TensorView& dlogits) {
  const cuda::Runtime::Op op(runtime_, "RouteBackward");
  runtime_.Launch(kernels::LaunchRouteBackward,
                  kernels::RouteBackwardArgs{.logits = logits.f32(),
                                             .rows = logits.rows(),
                                             .num_experts = static_cast<int>(logits.shape[1]),
                                             .top_k = options.top_k,
                                             .normalize = options.normalize,
                                             .experts = runtime_.ToDevice(experts).data(),
                                             .dweights = runtime_.ToDevice(dweights).data(),
                                             .dlogits = dlogits.f32()});
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

void CudaBackend::ScatterAddRows(const TensorView& x, std::span<const int32_t> rows, std::span<const float> factors,
                                 const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "ScatterAddRows");
  runtime_.Launch(kernels::LaunchScatterAddRows,
                  kernels::ScatterAddRowsArgs{.type = cuda::TypeOf(x.dtype),
                                              .x = x.data,
                                              .numbers = runtime_.ToDevice(rows).data(),
                                              .factors = runtime_.ToDevice(factors).data(),
                                              .y = y.data,
                                              .rows = x.rows(),
                                              .columns = x.shape[1]});
}

void CudaBackend::ScaleRows(std::span<const float> factors, const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "ScaleRows");
  runtime_.Launch(kernels::LaunchScaleRows, kernels::ScaleRowsArgs{.type = cuda::TypeOf(x.dtype),
                                                                   .factors = runtime_.ToDevice(factors).data(),
                                                                   .x = x.data,
                                                                   .rows = x.rows(),
                                                                   .columns = x.shape[1]});
}

void CudaBackend::RowDots(const TensorView& x, const TensorView& y, std::span<float> dots) {
  const cuda::Runtime::Op op(runtime_, "RowDots");
  float* const device_dots = runtime_.Scratch<float>(dots.size());
  runtime_.Launch(kernels::LaunchRowDots, kernels::RowDotsArgs{.type = cuda::TypeOf(x.dtype),
                                                               .x = x.data,
                                                               .y = y.data,
                                                               .dots = device_dots,
                                                               .rows = x.rows(),
                                                               .columns = x.shape[1]});
  runtime_.Fetch(device_dots, dots);
}

}  // namespace tandem
