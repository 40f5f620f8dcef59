// Routed experts. Who was chosen stays on the device: nothing here waits, and what is launched does not depend on it.
#include "kernels/moe.h"

#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "kernels/embedding.h"
#include "kernels/experts.h"

namespace tandem {
namespace {

int32_t* I32(const TensorView& tensor) {
  return static_cast<int32_t*>(tensor.data);
}

int NumChoices(const Routing& routing) {
  return static_cast<int>(routing.experts.shape.num_elements());
}

}  // namespace

void CudaBackend::Route(const TensorView& logits, const RouterOptions& options, const Routing& routing) {
  const cuda::Runtime::Op op(runtime_, "Route");
  const int num_experts = static_cast<int>(logits.shape[1]);
  runtime_.Launch(kernels::LaunchRoute, kernels::RouteArgs{.logits = logits.f32(),
                                                           .rows = logits.rows(),
                                                           .num_experts = num_experts,
                                                           .top_k = options.top_k,
                                                           .normalize = options.normalize,
                                                           .experts = I32(routing.experts),
                                                           .weights = routing.weights.f32()});
  runtime_.Launch(kernels::LaunchSortChoices, kernels::SortChoicesArgs{.experts = I32(routing.experts),
                                                                       .choices = NumChoices(routing),
                                                                       .num_experts = num_experts,
                                                                       .order = I32(routing.order),
                                                                       .places = I32(routing.places),
                                                                       .ends = I32(routing.ends)});
}

void CudaBackend::RouteBackward(const TensorView& logits, const RouterOptions& options, const Routing& routing,
                                const TensorView& dweights, const TensorView& dlogits) {
  const cuda::Runtime::Op op(runtime_, "RouteBackward");
  runtime_.Launch(kernels::LaunchRouteBackward,
                  kernels::RouteBackwardArgs{.logits = logits.f32(),
                                             .rows = logits.rows(),
                                             .num_experts = static_cast<int>(logits.shape[1]),
                                             .top_k = options.top_k,
                                             .normalize = options.normalize,
                                             .experts = I32(routing.experts),
                                             .dweights = dweights.f32(),
                                             .dlogits = dlogits.f32()});
}

void CudaBackend::GatherChoices(const TensorView& x, const Routing& routing, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "GatherChoices");
  runtime_.Launch(kernels::LaunchGatherRows, kernels::RowCopyArgs{.from_type = cuda::TypeOf(x.dtype),
                                                                  .to_type = cuda::TypeOf(y.dtype),
                                                                  .from = x.data,
                                                                  .numbers = I32(routing.order),
                                                                  .share = static_cast<int>(routing.experts.shape[1]),
                                                                  .to = y.data,
                                                                  .rows = y.rows(),
                                                                  .columns = y.shape[1]});
}

void CudaBackend::CombineChoices(const TensorView& x, const Routing& routing, const TensorView& factors,
                                 const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "CombineChoices");
  runtime_.Launch(kernels::LaunchCombineChoices,
                  kernels::CombineChoicesArgs{.type = cuda::TypeOf(x.dtype),
                                              .x = x.data,
                                              .places = I32(routing.places),
                                              .factors = factors.f32(),
                                              .y = y.data,
                                              .rows = y.rows(),
                                              .columns = y.shape[1],
                                              .top_k = static_cast<int>(routing.experts.shape[1])});
}

void CudaBackend::WeighChoicesBackward(const TensorView& x, const Routing& routing, const TensorView& dx,
                                       const TensorView& dweights) {
  const cuda::Runtime::Op op(runtime_, "WeighChoicesBackward");
  runtime_.Launch(kernels::LaunchWeighChoicesBackward,
                  kernels::WeighChoicesBackwardArgs{.type = cuda::TypeOf(x.dtype),
                                                    .x = x.data,
                                                    .order = I32(routing.order),
                                                    .weights = routing.weights.f32(),
                                                    .dx = dx.data,
                                                    .dweights = dweights.f32(),
                                                    .rows = x.rows(),
                                                    .columns = x.shape[1]});
}

void CudaBackend::ExpertLinear(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y) {
  const cuda::Runtime::Op op(runtime_, "ExpertLinear");
  LaunchExperts(x, w, routing, y, {.transposed = false});
}

void CudaBackend::ExpertLinearBackwardInput(const TensorView& dy, ExpertMatrices w, const Routing& routing,
                                            Accumulate mode, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "ExpertLinearBackwardInput");
  LaunchExperts(dy, w, routing, dx, {.transposed = true, .accumulate = mode == Accumulate::kYes});
}

void CudaBackend::LaunchExperts(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y,
                                kernels::ExpertProductArgs args) {
  args.type = cuda::TypeOf(x.dtype);
  args.x = x.data;
  args.weights = AddressesOf(w);
  args.ends = I32(routing.ends);
  args.y = y.data;
  args.rows = static_cast<int>(x.rows());
  args.n = static_cast<int>(y.shape[1]);
  args.k = static_cast<int>(x.shape[1]);
  args.num_experts = static_cast<int>(w.size());
  runtime_.Launch(kernels::LaunchExpertProduct, args);
}

// Where the matrices lie is asked for in every layer of every step and changes with the model only: it is kept on the
// device, by what it says.
const void* const* CudaBackend::AddressesOf(ExpertMatrices w) {
  std::vector<const void*> addresses;
  for (const std::unique_ptr<Matrix>& matrix : w) addresses.push_back(CudaMatrix::Of(*matrix).data());
  auto [kept, is_new] = addresses_.try_emplace(addresses);
  if (is_new) {
    const size_t bytes = addresses.size() * sizeof(addresses[0]);
    kept->second = runtime_.Allocate(bytes);
    runtime_.UploadBytes(addresses.data(), kept->second, bytes);
  }
  return static_cast<const void* const*>(kept->second);
}

}  // namespace tandem
