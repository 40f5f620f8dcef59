// The LoRA bypass (Hu et al. 2021): y += scale B (A x), all segments of a call in two launches, and its gradients.
#include "kernels/copy.h"
#include "kernels/lora/activate.h"
#include "kernels/lora/forward.h"
#include "kernels/lora/gradient.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace tandem {
namespace {

struct LoraTables {
  std::vector<kernels::LoraSegment> segments;
  std::vector<kernels::LoraItem> items;
  int max_rank = 0;
  bool activated = false;  // any of them
};

// In the activations' type: as it is kept, or converted now.
const void* ParametersOf(cuda::Runtime& runtime, const Matrix& matrix, DType activations) {
  const TensorView &view = CudaMatrix::Of(matrix).view(), &copy = CudaMatrix::Of(matrix).bf16_copy();
  if (view.dtype == activations) return view.data;
  if (copy.data != nullptr) return copy.data;
  void* const converted = runtime.Scratch<char>(view.shape.num_elements() * ByteSize(activations));
  runtime.Launch(kernels::LaunchConvert, kernels::ConvertArgs{.from = view.data,
                                                              .to = converted,
                                                              .from_type = cuda::TypeOf(view.dtype),
                                                              .to_type = cuda::TypeOf(activations),
                                                              .n = view.shape.num_elements()});
  return converted;
}

LoraTables TablesOf(cuda::Runtime& runtime, std::span<const LoraSegment> segments, DType activations) {
  LoraTables tables;
  for (const LoraSegment& segment : segments) {
    tables.max_rank = std::max(tables.max_rank, static_cast<int>(segment.a->rows()));
  }
  const int item_rows = kernels::RowsOfItem(tables.max_rank);
  for (const LoraSegment& segment : segments) {
    const int number = static_cast<int>(tables.segments.size());
    tables.segments.push_back({.a = ParametersOf(runtime, *segment.a, activations),
                               .b = ParametersOf(runtime, *segment.b, activations),
                               .scale = segment.scale,
                               .rank = static_cast<int>(segment.a->rows()),
                               .activated = segment.activation.has_value(),
                               .activation = cuda::KindOf(segment.activation.value_or(Activation::kSilu))});
    tables.activated |= segment.activation.has_value();
    for (int row = 0; row < segment.num_rows; row += item_rows) {
      tables.items.push_back({.segment = number,
                              .first_row = segment.first_row + row,
                              .num_rows = std::min(item_rows, segment.num_rows - row)});
    }
  }
  // The grid of a repeated step stays when requests come and go.
  tables.items.resize(std::bit_ceil(tables.items.size()));
  return tables;
}

// With the tables on the device and room for u, summed over `width`.
kernels::LoraWork WorkOf(cuda::Runtime& runtime, const LoraTables& tables, const TensorView& x, int64_t width) {
  const kernels::Type type = cuda::TypeOf(x.dtype);
  const int slices = kernels::LoraSlices(type, width);
  return {.type = type,
          .segments = runtime.ToDevice(std::span<const kernels::LoraSegment>(tables.segments)).data(),
          .items = runtime.ToDevice(std::span<const kernels::LoraItem>(tables.items)).data(),
          .num_items = static_cast<int>(tables.items.size()),
          .max_rank = tables.max_rank,
          .rows = x.rows(),
          .u = runtime.Scratch<float>(slices * x.rows() * kernels::RankStride(tables.max_rank)),
          .slices = slices};
}

float* RoomForU(cuda::Runtime& runtime, const kernels::LoraWork& work) {
  return runtime.Scratch<float>(work.slices * work.rows * kernels::RankStride(work.max_rank));
}

// u becomes f(u) and du f'(u) du, both in one slice.
void ActivateU(cuda::Runtime& runtime, kernels::LoraWork& u, kernels::LoraWork* du) {
  kernels::LoraActivateArgs args = {.work = u};
  u.slices = 1;
  u.u = args.v = RoomForU(runtime, u);
  if (du != nullptr) {
    args.du = du->u;
    args.du_slices = du->slices;
    du->slices = 1;
    du->u = args.dv = RoomForU(runtime, *du);
  }
  runtime.Launch(kernels::LaunchLoraActivate, args);
}

}  // namespace

void CudaBackend::Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) {
  if (segments.empty()) return;
  const cuda::Runtime::Op op(runtime_, "Lora");
  const int64_t in = x.shape[1];
  const LoraTables tables = TablesOf(runtime_, segments, x.dtype);
  kernels::LoraWork work = WorkOf(runtime_, tables, x, in);
  runtime_.Launch(kernels::LaunchLoraShrink,
                  kernels::LoraShrinkArgs{.work = work, .by = kernels::LoraPair::kA, .x = x.data, .width = in});
  if (tables.activated) ActivateU(runtime_, work, nullptr);
  runtime_.Launch(kernels::LaunchLoraExpand,
                  kernels::LoraExpandArgs{.work = work, .by = kernels::LoraPair::kB, .y = y.data, .width = y.shape[1]});
}

// With s the scale: u = A x, dB += s dy^T u, du = B^T dy, dA += s du^T x, dx += s du A.
void CudaBackend::LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                               const LoraGradients& gradients, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "LoraBackward");
  using kernels::LoraPair;
  const int64_t in = x.shape[1], out = dy.shape[1];
  LoraSegment whole = segment;
  whole.first_row = 0;
  whole.num_rows = static_cast<int>(x.rows());
  const LoraTables tables = TablesOf(runtime_, {&whole, 1}, x.dtype);
  kernels::LoraWork u = WorkOf(runtime_, tables, x, in);
  kernels::LoraWork du = u;
  du.slices = kernels::LoraSlices(u.type, out);
  du.u = RoomForU(runtime_, du);
  runtime_.Launch(kernels::LaunchLoraShrink,
                  kernels::LoraShrinkArgs{.work = u, .by = LoraPair::kA, .x = x.data, .width = in});
  runtime_.Launch(kernels::LaunchLoraShrink,
                  kernels::LoraShrinkArgs{.work = du, .by = LoraPair::kB, .x = dy.data, .width = out});

  if (tables.activated) ActivateU(runtime_, u, &du);
  kernels::LoraGradientArgs gradient = {.work = u,
                                        .of = LoraPair::kB,
                                        .z = dy.data,
                                        .width = out,
                                        .rank = tables.max_rank,
                                        .scale = segment.scale,
                                        .transposed = runtime_.Scratch<kernels::bf16>(
                                            kernels::RankStride(tables.max_rank) * kernels::LoraPaddedRows(x.rows())),
                                        .gradient = gradients.db.f32()};
  runtime_.Launch(kernels::LaunchLoraGradient, gradient);
  gradient.work = du;
  gradient.of = LoraPair::kA;
  gradient.z = x.data;
  gradient.width = in;
  gradient.gradient = gradients.da.f32();
  runtime_.Launch(kernels::LaunchLoraGradient, gradient);
  runtime_.Launch(kernels::LaunchLoraExpand,
                  kernels::LoraExpandArgs{.work = du, .by = LoraPair::kA, .y = dx.data, .width = in});
}

}  // namespace tandem
