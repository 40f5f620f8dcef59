#include "gradient.h"

#include "../common/launch.h"
#include "../common/ptx.h"
#include "../common/reduce.h"
#include "../common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;
constexpr int kColumns = 64;           // of a block
constexpr int kRankTiles = 2;          // of 16
constexpr int kStride = kColumns + 4;  // of a row of partial sums: its rows begin in different banks

__device__ __forceinline__ float ScaledU(const LoraGradientArgs& args, int64_t row, int r) {
  const int rank_stride = RankStride(args.work.max_rank);
  float sum = 0;
  for (int slice = 0; slice < args.work.slices; ++slice) {
    sum += args.work.u[(slice * args.work.rows + row) * rank_stride + r];
  }
  return sum * args.scale;
}

// transposed[r, row] = scale * u[row, r]; zeros where there is no such row. A thread to a row and rank.
__global__ void __launch_bounds__(kThreads) TransposeKernel(LoraGradientArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t padded = LoraPaddedRows(args.work.rows);
  if (row >= padded) return;
  const int r = blockIdx.y;
  args.transposed[r * padded + row] = FromFloat<bf16>(row < args.work.rows ? ScaledU(args, row, r) : 0.0f);
}

// The gradient's element of a rank and a column.
__device__ __forceinline__ float* ElementOf(const LoraGradientArgs& args, int r, int64_t column) {
  return args.gradient + (args.of == LoraPair::kA ? r * args.width + column : column * args.rank + r);
}

// Ranks are the rows of the product, columns of z its columns; rows of z are summed over. A block has 64 columns and 32
// ranks, each of its warps an eighth of the rows. Elements are given to the instruction's positions as in forward.cu:
// of 16 rows a lane has 4 t .. 4 t + 3, of 64 columns 8 g .. 8 g + 7.
__global__ void __launch_bounds__(kThreads) GradientMmaKernel(LoraGradientArgs args) {
  __shared__ __align__(16) float partial[kWarps][16][kStride];
  const int warp = threadIdx.x / kWarpSize, g = threadIdx.x % kWarpSize / 4, t = threadIdx.x % 4;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kColumns, column = first_column + 8 * g;
  const int first_rank = blockIdx.y * kRankTiles * 16, ranks = RankStride(args.rank) - first_rank;
  const int64_t rows = args.work.rows, padded = LoraPaddedRows(rows);
  const int64_t groups = padded / 16, groups_of_warp = CeilDiv<int64_t>(groups, kWarps);
  const int64_t begin = warp * groups_of_warp;
  const int64_t end = begin + groups_of_warp < groups ? begin + groups_of_warp : groups;
  const bf16* z = static_cast<const bf16*>(args.z);

  float sums[kRankTiles][8][4] = {};
#pragma unroll 2
  for (int64_t group = begin; group < end; ++group) {
    const int64_t row = 16 * group + 4 * t;
    uint32_t values[4][4] = {};  // [row][pair of columns]
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (row + i < rows && column < args.width) {
        const uint4 raw = LoadVector(z + (row + i) * args.width + column).raw;
        values[i][0] = raw.x;
        values[i][1] = raw.y;
        values[i][2] = raw.z;
        values[i][3] = raw.w;
      }
    }
    uint2 low[kRankTiles], high[kRankTiles];
#pragma unroll
    for (int tile = 0; tile < kRankTiles; ++tile) {
      if (16 * tile >= ranks) break;
      const bf16* from = args.transposed + (first_rank + 16 * tile + g) * padded + row;
      low[tile] = *reinterpret_cast<const uint2*>(from);
      high[tile] = *reinterpret_cast<const uint2*>(from + 8 * padded);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {  // column j of the lane's eight: the low or the high half of a pair
      uint32_t pair[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t upper = values[2 * i][j / 2], lower = values[2 * i + 1][j / 2];
        pair[i] = j % 2 == 0 ? (upper & 0xffffu) | lower << 16 : upper >> 16 | (lower & 0xffff0000u);
      }
#pragma unroll
      for (int tile = 0; tile < kRankTiles; ++tile) {
        if (16 * tile >= ranks) break;
        MmaBf16(sums[tile][j], {low[tile].x, high[tile].x, low[tile].y, high[tile].y}, pair);
      }
    }
  }

#pragma unroll
  for (int tile = 0; tile < kRankTiles; ++tile) {
    if (16 * tile >= ranks) break;
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // (rank g or g + 8, columns 16 t or 16 t + 8)
      float* to = &partial[warp][g + part / 2 * 8][16 * t + part % 2 * 8];
#pragma unroll
      for (int j = 0; j < 8; ++j) to[j] = sums[tile][j][part];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * kColumns; i += kThreads) {
      // Neighbours in memory are neighbours among the threads.
      const int r = args.of == LoraPair::kA ? i / kColumns : i % 16;
      const int c = args.of == LoraPair::kA ? i % kColumns : i / 16;
      if (first_rank + 16 * tile + r >= args.rank || first_column + c >= args.width) continue;
      float sum = 0;
#pragma unroll
      for (int part = kWarps - 1; part >= 0; --part) sum += partial[part][r][c];
      *ElementOf(args, first_rank + 16 * tile + r, first_column + c) += sum;
    }
    __syncthreads();
  }
}

// Without tensor cores: a thread to an element, rows from the last.
template <typename T>
__global__ void __launch_bounds__(kThreads) GradientKernel(LoraGradientArgs args) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= args.width) return;
  const int r = blockIdx.y;
  float* element = ElementOf(args, r, column);
  float sum = *element;
  for (int64_t row = args.work.rows - 1; row >= 0; --row) {
    sum += ScaledU(args, row, r) * ToFloat(static_cast<const T*>(args.z)[row * args.width + column]);
  }
  *element = sum;
}

}  // namespace

cudaError_t LaunchLoraGradient(const LoraGradientArgs& args, cudaStream_t stream) {
  LaunchConfig config = {.block = kThreads, .stream = stream};
  if (!LoraUsesMma(args.work.type, args.width)) {
    config.grid = dim3(static_cast<unsigned>(CeilDiv<int64_t>(args.width, kThreads)), args.rank);
    return args.work.type == Type::kF32 ? Launch(GradientKernel<float>, config, args)
                                        : Launch(GradientKernel<bf16>, config, args);
  }
  config.grid =
      dim3(static_cast<unsigned>(CeilDiv<int64_t>(LoraPaddedRows(args.work.rows), kThreads)), RankStride(args.rank));
  const cudaError_t error = Launch(TransposeKernel, config, args);
  if (error != cudaSuccess) return error;
  config.grid = dim3(static_cast<unsigned>(CeilDiv<int64_t>(args.width, kColumns)),
                     CeilDiv(RankStride(args.rank), kRankTiles * 16));
  return Launch(GradientMmaKernel, config, args);
}

}  // namespace tandem::kernels
