#include "column_scale.h"

#include "common/launch.h"
#include "common/reduce.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256, kColumnsOfBlock = 4 * kThreads;

template <typename T>
__global__ void __launch_bounds__(kThreads) ScaleColumnsKernel(ScaleColumnsArgs args) {
  const ColumnScale scale = args.scales[blockIdx.x];
  if (scale.factor == nullptr) return;
  T* y = static_cast<T*>(args.y) + args.numbers[blockIdx.x] * args.columns;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kColumnsOfBlock + threadIdx.x;
#pragma unroll
  for (int part = 0; part < kColumnsOfBlock / kThreads; ++part) {
    const int64_t i = first + part * kThreads;
    if (i >= args.columns) return;
    const float center = scale.center == nullptr ? 0.0f : scale.center[i];
    const float unit = scale.unit == nullptr ? 1.0f : scale.unit[i];
    y[i] = FromFloat<T>(fmaf(scale.factor[i] * unit, ToFloat(y[i]) - center, center));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) ScaleColumnsBackwardKernel(ScaleColumnsBackwardArgs args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= args.columns) return;
  const float center = args.scale.center == nullptr ? 0.0f : args.scale.center[i];
  const float unit = args.scale.unit == nullptr ? 1.0f : args.scale.unit[i], factor = args.scale.factor[i];
  const T *x = static_cast<const T*>(args.x), *dy = static_cast<const T*>(args.dy);
  T* dx = static_cast<T*>(args.dx);
  float sum = args.dfactor[i];
  for (int64_t at = (args.rows - 1) * args.columns + i; at >= 0; at -= args.columns) {
    const float slope = ToFloat(dy[at]) * unit;
    sum = fmaf(slope, ToFloat(x[at]) - center, sum);
    dx[at] = FromFloat<T>(slope * factor);
  }
  args.dfactor[i] = sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) RowSquaresKernel(RowSquaresArgs args) {
  __shared__ float scratch[kThreads / kWarpSize];
  const T* row = static_cast<const T*>(args.w) + blockIdx.x * args.columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < args.columns; i += kThreads) {
    const float value = ToFloat(row[i]);
    sum += value * value;
  }
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) args.squares[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) InverseRowNormsKernel(InverseRowNormsArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  if (row >= args.rows) return;
  const float* b = args.b + row * args.rank;
  float sum = 0;
  for (int r = lane; r < args.rank; r += kWarpSize) {
    float through = 0;
    for (int i = 0; i < args.rank; ++i) through += args.gram[static_cast<int64_t>(i) * args.rank + r] * b[i];
    sum += b[r] * args.scale * (2 * args.projected[r * args.rows + row] + args.scale * through);
  }
  sum = WarpSum(sum);
  const float square = args.squares[row] + sum;
  if (lane == 0) args.inverse[row] = square > 0 ? 1.0f / sqrtf(square) : 0.0f;
}

}  // namespace

cudaError_t LaunchScaleColumns(const ScaleColumnsArgs& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(args.rows),
                  static_cast<unsigned>(CeilDiv<int64_t>(args.columns, kColumnsOfBlock)));
  const LaunchConfig config = {.grid = grid, .block = kThreads, .stream = stream};
  return args.type == Type::kF32 ? Launch(ScaleColumnsKernel<float>, config, args)
                                 : Launch(ScaleColumnsKernel<bf16>, config, args);
}

cudaError_t LaunchScaleColumnsBackward(const ScaleColumnsBackwardArgs& args, cudaStream_t stream) {
  const LaunchConfig config = {
      .grid = static_cast<unsigned>(CeilDiv<int64_t>(args.columns, kThreads)), .block = kThreads, .stream = stream};
  return args.type == Type::kF32 ? Launch(ScaleColumnsBackwardKernel<float>, config, args)
                                 : Launch(ScaleColumnsBackwardKernel<bf16>, config, args);
}

cudaError_t LaunchRowSquares(const RowSquaresArgs& args, cudaStream_t stream) {
  const LaunchConfig config = {.grid = static_cast<unsigned>(args.rows), .block = kThreads, .stream = stream};
  return args.type == Type::kF32 ? Launch(RowSquaresKernel<float>, config, args)
                                 : Launch(RowSquaresKernel<bf16>, config, args);
}

cudaError_t LaunchInverseRowNorms(const InverseRowNormsArgs& args, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(args.rows, kThreads / kWarpSize));
  return Launch(InverseRowNormsKernel, {.grid = blocks, .block = kThreads, .stream = stream}, args);
}

}  // namespace tandem::kernels
