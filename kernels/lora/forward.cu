// The tensor cores' fragments come straight from memory. A sum over k may take its terms in any order as long as both
// operands agree, and so may the columns of an output: positions within an instruction are given to elements such that
// what a lane needs lies side by side. With g = lane / 4, t = lane % 4:
//   Shrink   of 32 terms a lane has 8 t .. 8 t + 7 of row g: 16 bytes of x
//   Expand   column p of instruction j is column 8 p + j of 64: a lane ends up with 16 t .. 16 t + 15 of row g
#include "forward.h"

#include "../common/launch.h"
#include "../common/ptx.h"
#include "../common/reduce.h"
#include "../common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kShrinkWarps = 8, kShrinkThreads = kShrinkWarps * kWarpSize;
constexpr int kExpandWarps = 4, kExpandThreads = kExpandWarps * kWarpSize;
constexpr int kExpandColumns = 64;  // of a warp

template <typename T, LoraPair kPair>
__device__ __forceinline__ const T* MatrixOf(const LoraSegment& segment) {
  return static_cast<const T*>(kPair == LoraPair::kA ? segment.a : segment.b);
}

// Two bf16 that do not lie side by side.
__device__ __forceinline__ uint32_t Pair(bf16 low, bf16 high) {
  return static_cast<uint32_t>(__bfloat16_as_ushort(low)) | static_cast<uint32_t>(__bfloat16_as_ushort(high)) << 16;
}

// Parameters k .. k + 7 of rank r, as four pairs of bf16.
template <LoraPair kBy>
__device__ __forceinline__ void LoadParameters(const LoraSegment& segment, int r, int64_t k, int64_t width,
                                               uint32_t (&pairs)[4]) {
  const bf16* matrix = MatrixOf<bf16, kBy>(segment);
  if constexpr (kBy == LoraPair::kA) {
    const uint4 raw = LoadVector(matrix + r * width + k).raw;
    pairs[0] = raw.x;
    pairs[1] = raw.y;
    pairs[2] = raw.z;
    pairs[3] = raw.w;
  } else {
    const bf16* from = matrix + k * segment.rank + r;
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[i] = Pair(from[2 * i * segment.rank], from[(2 * i + 1) * segment.rank]);
  }
}

// A block has one item, one slice of the width and kRankTiles * 8 ranks. Its warps share the slice and add up in the
// end.
template <LoraPair kBy, int kRankTiles, int kRowTiles>
__global__ void __launch_bounds__(kShrinkThreads, 2) ShrinkMmaKernel(LoraShrinkArgs args) {
  constexpr int kRanks = kRankTiles * 8;
  __shared__ float partial[kShrinkWarps][16][kRanks];
  const LoraItem item = args.work.items[blockIdx.x];
  if (item.num_rows == 0) return;
  const LoraSegment segment = args.work.segments[item.segment];
  const int first_rank = blockIdx.z * kRanks, rank_stride = RankStride(args.work.max_rank);
  if (first_rank >= RankStride(segment.rank)) return;
  const int warp = threadIdx.x / kWarpSize, g = threadIdx.x % kWarpSize / 4, t = threadIdx.x % 4;
  const int64_t slice_width = LoraSliceWidth(Type::kBf16, args.width), warp_width = slice_width / kShrinkWarps;
  const int64_t begin = blockIdx.y * slice_width + warp * warp_width;
  const int64_t end = begin + warp_width < args.width ? begin + warp_width : args.width;
  const bf16* x = static_cast<const bf16*>(args.x) + item.first_row * args.width;

  float sums[kRowTiles][kRankTiles][4] = {};
  for (int64_t k = begin + 8 * t; k - 8 * t < end; k += 32) {
    uint32_t w[kRankTiles][4] = {};
#pragma unroll
    for (int n = 0; n < kRankTiles; ++n) {
      const int r = first_rank + 8 * n + g;
      if (r < segment.rank && k < end) LoadParameters<kBy>(segment, r, k, args.width, w[n]);
    }
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      if (16 * tile >= item.num_rows) break;
      uint4 low = {}, high = {};
      const int row = 16 * tile + g;
      if (row < item.num_rows && k < end) low = LoadVector(x + row * args.width + k).raw;
      if (row + 8 < item.num_rows && k < end) high = LoadVector(x + (row + 8) * args.width + k).raw;
#pragma unroll
      for (int n = 0; n < kRankTiles; ++n) {
        MmaBf16(sums[tile][n], {low.x, high.x, low.y, high.y}, {w[n][0], w[n][1]});
        MmaBf16(sums[tile][n], {low.z, high.z, low.w, high.w}, {w[n][2], w[n][3]});
      }
    }
  }

  float* u = args.work.u + (static_cast<int64_t>(blockIdx.y) * args.work.rows + item.first_row) * rank_stride;
#pragma unroll
  for (int tile = 0; tile < kRowTiles; ++tile) {
    if (16 * tile >= item.num_rows) break;
#pragma unroll
    for (int n = 0; n < kRankTiles; ++n) {
      float(&sum)[4] = sums[tile][n];
      *reinterpret_cast<float2*>(&partial[warp][g][8 * n + 2 * t]) = make_float2(sum[0], sum[1]);
      *reinterpret_cast<float2*>(&partial[warp][g + 8][8 * n + 2 * t]) = make_float2(sum[2], sum[3]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * kRanks; i += kShrinkThreads) {
      const int row = 16 * tile + i / kRanks, r = first_rank + i % kRanks;
      float sum = 0;
#pragma unroll
      for (int part = 0; part < kShrinkWarps; ++part) sum += partial[part][i / kRanks][i % kRanks];
      if (row < item.num_rows && r < rank_stride) u[row * rank_stride + r] = sum;
    }
    __syncthreads();
  }
}

// Without tensor cores: a warp to an element of u.
template <typename T, LoraPair kBy>
__global__ void __launch_bounds__(kShrinkThreads) ShrinkKernel(LoraShrinkArgs args) {
  const LoraItem item = args.work.items[blockIdx.x];
  if (item.num_rows == 0) return;
  const LoraSegment segment = args.work.segments[item.segment];
  const int lane = threadIdx.x % kWarpSize, rank_stride = RankStride(args.work.max_rank);
  const int padded = RankStride(segment.rank);
  for (int i = threadIdx.x / kWarpSize; i < item.num_rows * padded; i += kShrinkWarps) {
    const int64_t row = item.first_row + i / padded;
    const int r = i % padded;
    float sum = 0;
    if (r < segment.rank) {
      const T* x = static_cast<const T*>(args.x) + row * args.width;
      for (int64_t k = lane; k < args.width; k += kWarpSize) {
        const int64_t at = kBy == LoraPair::kA ? r * args.width + k : k * segment.rank + r;
        sum += ToFloat(x[k]) * ToFloat(MatrixOf<T, kBy>(segment)[at]);
      }
      sum = WarpSum(sum);
    }
    if (lane == 0) args.work.u[row * rank_stride + r] = sum;
  }
}

// scale * u of a row, summed over its slices.
__device__ __forceinline__ float ScaledU(const LoraWork& work, const LoraSegment& segment, int64_t row, int r) {
  const int rank_stride = RankStride(work.max_rank);
  float sum = 0;
  for (int slice = 0; slice < work.slices; ++slice) sum += work.u[(slice * work.rows + row) * rank_stride + r];
  return sum * segment.scale;
}

// The parameters of ranks r .. r + 3 for columns first .. first + 7, as the pairs (r, r + 1) and (r + 2, r + 3).
template <LoraPair kBy>
__device__ __forceinline__ void LoadExpansion(const LoraSegment& segment, int r, int64_t first, int64_t width,
                                              uint32_t (&pairs)[8][2]) {
  const bf16* matrix = MatrixOf<bf16, kBy>(segment);
  if constexpr (kBy == LoraPair::kA) {
    uint4 rows[4] = {};  // eight columns of a rank
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (r + i < segment.rank && first < width) rows[i] = LoadVector(matrix + (r + i) * width + first).raw;
    }
#pragma unroll
    for (int i = 0; i < 4; i += 2) {  // columns 2 j and 2 j + 1 of two ranks, exchanged
      const uint32_t upper[4] = {rows[i].x, rows[i].y, rows[i].z, rows[i].w};
      const uint32_t lower[4] = {rows[i + 1].x, rows[i + 1].y, rows[i + 1].z, rows[i + 1].w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        pairs[2 * j][i / 2] = (upper[j] & 0xffffu) | lower[j] << 16;
        pairs[2 * j + 1][i / 2] = upper[j] >> 16 | (lower[j] & 0xffff0000u);
      }
    }
    return;
  }
  const bool vectors = segment.rank % 4 == 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const bf16* from = matrix + (first + j) * segment.rank + r;
    pairs[j][0] = pairs[j][1] = 0;
    if (first >= width) continue;
    if (vectors) {
      if (r >= segment.rank) continue;
      const uint2 raw = *reinterpret_cast<const uint2*>(from);
      pairs[j][0] = raw.x;
      pairs[j][1] = raw.y;
      continue;
    }
    const bf16 none = FromFloat<bf16>(0.0f);
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      pairs[j][i / 2] = Pair(r + i < segment.rank ? from[i] : none, r + i + 1 < segment.rank ? from[i + 1] : none);
    }
  }
}

// y [8] += sums, where there is such a row and column.
__device__ __forceinline__ void AddToRow(bf16* y, const float (&sums)[8], bool exists) {
  if (!exists) return;
  float values[8];
  Load(y, values);
#pragma unroll
  for (int j = 0; j < 8; ++j) values[j] += sums[j];
  Store(y, values);
}

// A block has one item and 256 columns, a warp 64 of them.
template <LoraPair kBy>
__global__ void __launch_bounds__(kExpandThreads) ExpandMmaKernel(LoraExpandArgs args) {
  TANDEM_DYNAMIC_SHARED(uint32_t, u);  // [rows of the item up to a multiple of 16, stride] pairs of ranks
  const LoraItem item = args.work.items[blockIdx.x];
  if (item.num_rows == 0) return;
  const LoraSegment segment = args.work.segments[item.segment];
  const int pairs = RankStride(segment.rank) / 2, stride = pairs + 4;  // 4: rows begin in different banks
  const int row_tiles = CeilDiv(item.num_rows, 16);
  for (int i = threadIdx.x; i < 16 * row_tiles * pairs; i += kExpandThreads) {
    const int row = i / pairs, r = i % pairs * 2;
    const int64_t of = item.first_row + row;
    const bool exists = row < item.num_rows;
    u[row * stride + i % pairs] = exists ? PackBf16(ScaledU(args.work, segment, of, r),  //
                                                    ScaledU(args.work, segment, of, r + 1))
                                         : 0;
  }
  __syncthreads();
  const int warp = threadIdx.x / kWarpSize, g = threadIdx.x % kWarpSize / 4, t = threadIdx.x % 4;
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * kExpandWarps + warp) * kExpandColumns;
  if (first >= args.width) return;
  bf16* y = static_cast<bf16*>(args.y) + item.first_row * args.width;
  for (int tile = 0; tile < row_tiles; ++tile) {
    float sums[8][4] = {};
    for (int r = 0; r < segment.rank; r += 16) {
      const uint32_t* low = u + (16 * tile + g) * stride + r / 2 + 2 * t;
      const uint32_t* high = low + 8 * stride;
      uint32_t w[8][2];
      LoadExpansion<kBy>(segment, r + 4 * t, first + 8 * g, args.width, w);
#pragma unroll
      for (int j = 0; j < 8; ++j) MmaBf16(sums[j], {low[0], high[0], low[1], high[1]}, w[j]);
    }
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // (row g or g + 8, columns 16 t or 16 t + 8)
      float values[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] = sums[j][part];
      const int row = 16 * tile + g + part / 2 * 8;
      const int64_t column = first + 16 * t + part % 2 * 8;
      AddToRow(y + row * args.width + column, values, row < item.num_rows && column < args.width);
    }
  }
}

// Without tensor cores: a thread to a column.
template <typename T, LoraPair kBy>
__global__ void __launch_bounds__(kExpandThreads) ExpandKernel(LoraExpandArgs args) {
  const LoraItem item = args.work.items[blockIdx.x];
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kExpandThreads + threadIdx.x;
  if (item.num_rows == 0 || column >= args.width) return;
  const LoraSegment segment = args.work.segments[item.segment];
  for (int row = item.first_row; row < item.first_row + item.num_rows; ++row) {
    float sum = 0;
    for (int r = 0; r < segment.rank; ++r) {
      const int64_t at = kBy == LoraPair::kA ? r * args.width + column : column * segment.rank + r;
      sum += ScaledU(args.work, segment, row, r) * ToFloat(MatrixOf<T, kBy>(segment)[at]);
    }
    T& y = static_cast<T*>(args.y)[row * args.width + column];
    y = FromFloat<T>(ToFloat(y) + sum);
  }
}

template <LoraPair kBy, int kRankTiles>
cudaError_t LaunchShrinkMma(const LoraShrinkArgs& args, cudaStream_t stream) {
  constexpr int kRanks = 8 * kRankTiles, kRowTiles = RowsOfItem(kRanks) / 16;
  const dim3 grid(args.work.num_items, args.work.slices, CeilDiv(args.work.max_rank, kRanks));
  return Launch(ShrinkMmaKernel<kBy, kRankTiles, kRowTiles>, {.grid = grid, .block = kShrinkThreads, .stream = stream},
                args);
}

template <LoraPair kBy>
cudaError_t LaunchShrinkBy(const LoraShrinkArgs& args, cudaStream_t stream) {
  if (args.work.slices != LoraSlices(args.work.type, args.width)) return cudaErrorInvalidValue;
  if (LoraUsesMma(args.work.type, args.width)) {
    if (args.work.max_rank <= 16) return LaunchShrinkMma<kBy, 2>(args, stream);
    if (args.work.max_rank <= 32) return LaunchShrinkMma<kBy, 4>(args, stream);
    return LaunchShrinkMma<kBy, 8>(args, stream);
  }
  const LaunchConfig config = {
      .grid = static_cast<unsigned>(args.work.num_items), .block = kShrinkThreads, .stream = stream};
  return args.work.type == Type::kF32 ? Launch(ShrinkKernel<float, kBy>, config, args)
                                      : Launch(ShrinkKernel<bf16, kBy>, config, args);
}

template <LoraPair kBy>
cudaError_t LaunchExpandBy(const LoraExpandArgs& args, cudaStream_t stream) {
  LaunchConfig config = {.block = kExpandThreads, .stream = stream};
  const auto blocks_of = [&](int64_t columns) {
    return dim3(args.work.num_items, static_cast<unsigned>(CeilDiv(args.width, columns)));
  };
  if (LoraUsesMma(args.work.type, args.width)) {
    config.grid = blocks_of(kExpandWarps * kExpandColumns);
    config.shared_bytes =
        static_cast<size_t>(RowsOfItem(args.work.max_rank)) * (RankStride(args.work.max_rank) / 2 + 4) * 4;
    return Launch(ExpandMmaKernel<kBy>, config, args);
  }
  config.grid = blocks_of(kExpandThreads);
  return args.work.type == Type::kF32 ? Launch(ExpandKernel<float, kBy>, config, args)
                                      : Launch(ExpandKernel<bf16, kBy>, config, args);
}

}  // namespace

cudaError_t LaunchLoraShrink(const LoraShrinkArgs& args, cudaStream_t stream) {
  return args.by == LoraPair::kA ? LaunchShrinkBy<LoraPair::kA>(args, stream)
                                 : LaunchShrinkBy<LoraPair::kB>(args, stream);
}

cudaError_t LaunchLoraExpand(const LoraExpandArgs& args, cudaStream_t stream) {
  return args.by == LoraPair::kA ? LaunchExpandBy<LoraPair::kA>(args, stream)
                                 : LaunchExpandBy<LoraPair::kB>(args, stream);
}

}  // namespace tandem::kernels
