#include "activate.h"

#include "../activation_point.h"
#include "../common/launch.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float SumOfSlices(const float* u, int slices, int64_t slice_elements, int64_t at) {
  float sum = 0;
  for (int slice = 0; slice < slices; ++slice) sum += u[slice * slice_elements + at];
  return sum;
}

__device__ __forceinline__ Point PointOf(const LoraSegment& segment, float x) {
  if (!segment.activated) return {x, 1.0f};
  switch (segment.activation) {
    case Activation::kSilu:
      return Silu()(x);
    case Activation::kGeluTanh:
      return GeluTanh()(x);
    case Activation::kGelu:
      return Gelu()(x);
    case Activation::kRelu:
      break;
  }
  return Relu()(x);
}

// A block has one item.
__global__ void __launch_bounds__(kThreads) ActivateKernel(LoraActivateArgs args) {
  const LoraItem item = args.work.items[blockIdx.x];
  if (item.num_rows == 0) return;
  const LoraSegment segment = args.work.segments[item.segment];
  const int rank_stride = RankStride(args.work.max_rank), padded = RankStride(segment.rank);
  const int64_t slice_elements = args.work.rows * rank_stride;
  for (int i = threadIdx.x; i < item.num_rows * padded; i += kThreads) {
    const int64_t at = static_cast<int64_t>(item.first_row + i / padded) * rank_stride + i % padded;
    const bool exists = i % padded < segment.rank;  // f(0) need not be 0
    const Point point = PointOf(segment, SumOfSlices(args.work.u, args.work.slices, slice_elements, at));
    args.v[at] = exists ? point.value : 0.0f;
    if (args.du == nullptr) continue;
    const float du = SumOfSlices(args.du, args.du_slices, slice_elements, at);
    args.dv[at] = exists ? du * point.slope : 0.0f;
  }
}

}  // namespace

cudaError_t LaunchLoraActivate(const LoraActivateArgs& args, cudaStream_t stream) {
  const LaunchConfig config = {.grid = static_cast<unsigned>(args.work.num_items), .block = kThreads, .stream = stream};
  return Launch(ActivateKernel, config, args);
}

}  // namespace tandem::kernels
