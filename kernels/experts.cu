// A block takes a tile of rows of one expert and kN columns. Slices of kK of both operands come through a ring of
// kStages in shared memory; a warp has kM / kWarpRows rows and kN / kWarpColumns columns of the result in registers.
#include "experts.h"

#include "common/launch.h"
#include "common/tile.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

// Bytes under way in an SM: FewRows, four blocks (three on sm_80) with four slices of 10 KiB each; ManyRows, two blocks
// with three of 16 KiB.
template <int kTileRows, int kTileColumns, int kSlice, int kNumStages, int kRowWarps, int kColumnWarps, int kBlocksOfSm>
struct Tiling {
  static constexpr int kM = kTileRows, kN = kTileColumns, kK = kSlice, kStages = kNumStages;
  static constexpr int kWarpRows = kM / kRowWarps, kWarpColumns = kN / kColumnWarps;
  static constexpr int kRowsOfWarps = kRowWarps, kThreads = kRowWarps * kColumnWarps * kWarpSize, kBlocks = kBlocksOfSm;
  static constexpr int kStageElements = (kM + kN) * kK;
  static constexpr size_t kSharedBytes = kStages * kStageElements * sizeof(bf16);
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0 && kK % 32 == 0);
  static_assert(kM * kN <= kStages * kStageElements);  // the result goes through the same memory
};
using FewRows = Tiling<16, 64, 64, 5, 1, 4, 4>;
using ManyRows = Tiling<128, 128, 32, 4, 4, 2, 2>;

struct RowsOfExpert {
  int expert, begin, end;  // end <= begin: none
};

// The rows of tile `tile`, found by each warp on its own.
template <int kM>
__device__ __forceinline__ RowsOfExpert RowsOfTile(const int32_t* ends, int num_experts, int tile) {
  const int lane = threadIdx.x % kWarpSize;
  int tiles_before = 0;
  for (int first = 0; first < num_experts; first += kWarpSize) {
    const int expert = first + lane;
    const int end = expert < num_experts ? ends[expert] : 0;
    const int begin = expert > 0 && expert < num_experts ? ends[expert - 1] : 0;
    const int own = expert < num_experts ? CeilDiv(end - begin, kM) : 0;
    int through = own;  // tiles of the experts up to this lane's
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int left = __shfl_up_sync(kAllLanes, through, offset);
      if (lane >= offset) through += left;
    }
    const unsigned later = __ballot_sync(kAllLanes, tiles_before + through > tile);
    if (later != 0) {
      const int source = __ffs(later) - 1;
      const int row = begin + (tile - tiles_before - (through - own)) * kM;
      return {first + source, __shfl_sync(kAllLanes, row, source),
              min(__shfl_sync(kAllLanes, row, source) + kM, __shfl_sync(kAllLanes, end, source))};
    }
    tiles_before += __shfl_sync(kAllLanes, through, kWarpSize - 1);
  }
  return {0, 0, 0};
}

// kRows x kColumns from a row-major matrix to a tile: zeros behind row `rows` and column `columns`.
template <int kRows, int kColumns, int kThreads>
__device__ __forceinline__ void LoadTile(bf16* tile, const bf16* from, int64_t stride, int rows, int columns) {
  constexpr int kChunks = kColumns / 8;
  ForEach<kRows * kChunks, kThreads>(threadIdx.x, [&](int i) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool valid = row < rows && chunk * 8 < columns;
    CpAsync16OrZero(tile + TileOffset<kColumns>(row, chunk), valid ? from + row * stride + chunk * 8 : from, valid);
  });
}

// Slice k of both operands: x [kM, kK], then W as it lies, [kN, kK] or [kK, kN].
template <typename T, bool kTransposed>
__device__ __forceinline__ void LoadSlice(bf16* stage, const ExpertProductArgs& args, const RowsOfExpert& rows,
                                          const bf16* w, int column, int k) {
  LoadTile<T::kM, T::kK, T::kThreads>(stage,
                                      static_cast<const bf16*>(args.x) + static_cast<int64_t>(rows.begin) * args.k + k,
                                      args.k, rows.end - rows.begin, args.k - k);
  bf16* const weights = stage + T::kM * T::kK;
  if constexpr (kTransposed) {
    LoadTile<T::kK, T::kN, T::kThreads>(weights, w + static_cast<int64_t>(k) * args.n + column, args.n, args.k - k,
                                        args.n - column);
  } else {
    LoadTile<T::kN, T::kK, T::kThreads>(weights, w + static_cast<int64_t>(column) * args.k + k, args.k, args.n - column,
                                        args.k - k);
  }
}

template <typename T>
using Sums = float[T::kWarpRows / 16][T::kWarpColumns / 8][4];

template <typename T, bool kTransposed>
__device__ __forceinline__ void MultiplySlice(const bf16* stage, int row, int column, Sums<T>& sums) {
  const bf16* weights = stage + T::kM * T::kK;
#pragma unroll
  for (int k = 0; k < T::kK / 16; ++k) {
    uint32_t a[T::kWarpRows / 16][4];
#pragma unroll
    for (int m = 0; m < T::kWarpRows / 16; ++m) FragmentA<T::kK>(a[m], stage, row + 16 * m, k);
#pragma unroll
    for (int n = 0; n < T::kWarpColumns / 16; ++n) {
      uint32_t b[2][2];
      if constexpr (kTransposed) {
        FragmentB<T::kN>(b, weights, 16 * k, column / 16 + n);
      } else {
        FragmentBOfRows<T::kK>(b, weights, column + 16 * n, k);
      }
#pragma unroll
      for (int m = 0; m < T::kWarpRows / 16; ++m) {
        MmaBf16(sums[m][2 * n], a[m], b[0]);
        MmaBf16(sums[m][2 * n + 1], a[m], b[1]);
      }
    }
  }
}

// The block's result goes through shared memory, to be written sixteen bytes at a time.
template <typename T>
__device__ __forceinline__ void WriteResult(bf16* tile, const ExpertProductArgs& args, const RowsOfExpert& rows,
                                            int first_column, int row, int column, const Sums<T>& sums) {
  const int g = threadIdx.x % kWarpSize / 4, t = threadIdx.x % 4;
  __syncthreads();  // nobody reads the last slices any more
#pragma unroll
  for (int m = 0; m < T::kWarpRows / 16; ++m) {
#pragma unroll
    for (int n = 0; n < T::kWarpColumns / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        bf16* to = tile + TileOffset<T::kN>(row + 16 * m + 8 * half + g, column / 8 + n) + 2 * t;
        *reinterpret_cast<uint32_t*>(to) = PackBf16(sums[m][n][2 * half], sums[m][n][2 * half + 1]);
      }
    }
  }
  __syncthreads();
  constexpr int kChunks = T::kN / 8;
  ForEach<T::kM * kChunks, T::kThreads, 4>(threadIdx.x, [&](int i) {
    const int r = i / kChunks, chunk = i % kChunks;
    if (rows.begin + r >= rows.end || first_column + chunk * 8 >= args.n) return;
    bf16* to = static_cast<bf16*>(args.y) + static_cast<int64_t>(rows.begin + r) * args.n + first_column + chunk * 8;
    Vector<bf16> result = LoadVector(tile + TileOffset<T::kN>(r, chunk));
    if (args.accumulate) {
      float before[8], values[8];
      Load(to, before);
      Widen(result, values);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] += before[j];
      result = Narrow(values);
    }
    StoreVector(to, result);
  });
}

template <typename T, bool kTransposed>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks) ExpertMmaKernel(ExpertProductArgs args) {
  TANDEM_DYNAMIC_SHARED(bf16, stages);
  const RowsOfExpert rows = RowsOfTile<T::kM>(args.ends, args.num_experts, blockIdx.y);
  if (rows.end <= rows.begin) return;
  const bf16* w = static_cast<const bf16*>(args.weights[rows.expert]);
  const int first_column = blockIdx.x * T::kN, warp = threadIdx.x / kWarpSize;
  const int row = warp % T::kRowsOfWarps * T::kWarpRows, column = warp / T::kRowsOfWarps * T::kWarpColumns;
  const int slices = CeilDiv(args.k, T::kK);
  const auto load = [&](int slice) {
    if (slice < slices) {
      LoadSlice<T, kTransposed>(stages + slice % T::kStages * T::kStageElements, args, rows, w, first_column,
                                slice * T::kK);
    }
    CpAsyncCommit();  // an empty group where there is nothing left: so many groups are always behind
  };
  for (int slice = 0; slice < T::kStages - 1; ++slice) load(slice);
  Sums<T> sums = {};
  for (int slice = 0; slice < slices; ++slice) {
    CpAsyncWait<T::kStages - 2>();
    __syncthreads();  // this slice is there, and nobody reads the one before it, whose place is filled now
    load(slice + T::kStages - 1);
    MultiplySlice<T, kTransposed>(stages + slice % T::kStages * T::kStageElements, row, column, sums);
  }
  CpAsyncWait<0>();
  WriteResult<T>(stages, args, rows, first_column, row, column, sums);
}

constexpr int kScalarWarps = 4;

// Without tensor cores: a warp to an element.
template <typename T>
__global__ void __launch_bounds__(kScalarWarps* kWarpSize) ExpertKernel(ExpertProductArgs args) {
  const int row = blockIdx.x, lane = threadIdx.x % kWarpSize;
  const int column = blockIdx.y * kScalarWarps + threadIdx.x / kWarpSize;
  const RowsOfExpert rows = RowsOfTile<1>(args.ends, args.num_experts, row);
  if (column >= args.n) return;
  const T* x = static_cast<const T*>(args.x) + static_cast<int64_t>(rows.begin) * args.k;
  const T* w = static_cast<const T*>(args.weights[rows.expert]);
  float sum = 0;
  for (int64_t k = lane; k < args.k; k += kWarpSize) {
    sum +=
        ToFloat(x[k]) * ToFloat(w[args.transposed ? k * args.n + column : static_cast<int64_t>(column) * args.k + k]);
  }
  sum = WarpSum(sum);
  if (lane != 0) return;
  T& y = static_cast<T*>(args.y)[static_cast<int64_t>(rows.begin) * args.n + column];
  y = FromFloat<T>(args.accumulate ? ToFloat(y) + sum : sum);
}

template <typename T, bool kTransposed>
cudaError_t LaunchMma(const ExpertProductArgs& args, cudaStream_t stream) {
  const dim3 grid(CeilDiv(args.n, T::kN), NumExpertTiles(args.rows, args.num_experts, T::kM));
  return Launch(ExpertMmaKernel<T, kTransposed>,
                {.grid = grid, .block = T::kThreads, .shared_bytes = T::kSharedBytes, .stream = stream}, args);
}

}  // namespace

cudaError_t LaunchExpertProduct(const ExpertProductArgs& args, cudaStream_t stream) {
  if (args.type == Type::kBf16 && args.n % 8 == 0 && args.k % 8 == 0) {
    // On average: what each expert gets, only the device knows.
    constexpr int kFewRows = 24;
    if (args.rows <= kFewRows * args.num_experts) {
      return args.transposed ? LaunchMma<FewRows, true>(args, stream) : LaunchMma<FewRows, false>(args, stream);
    }
    return args.transposed ? LaunchMma<ManyRows, true>(args, stream) : LaunchMma<ManyRows, false>(args, stream);
  }
  const LaunchConfig config = {
      .grid = dim3(args.rows, CeilDiv(args.n, kScalarWarps)), .block = kScalarWarps * kWarpSize, .stream = stream};
  return args.type == Type::kF32 ? Launch(ExpertKernel<float>, config, args) : Launch(ExpertKernel<bf16>, config, args);
}

}  // namespace tandem::kernels
