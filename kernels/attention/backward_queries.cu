// dQ of attention's backward (backward.h): a CTA owns a tile of packed query rows of one KV head.
#include "../common/launch.h"
#include "../common/vector.h"
#include "backward_score.h"

namespace tandem::kernels {
namespace {

template <int kDim>
struct QueryShape {
  static constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
  static constexpr int kM = kDim <= 128 ? 2 : 1;  // MMA tiles of rows that a warp owns
  static constexpr int kRows = 16 * kM * kWarps;
  static constexpr int kKeys = 32;                 // of a step
  static constexpr int kStage = 2 * kKeys * kDim;  // elements: K, then V
  static constexpr size_t kSharedBytes = (2 * kRows * kDim + 2 * kStage) * sizeof(bf16) + sizeof(RowTable<kRows>);
};

// The rows of dQ go through the shared memory of the warp's own rows of Q, to be written 16 bytes at a time.
template <int kDim>
__device__ __forceinline__ void WriteQueryGradient(const AttentionBackwardArgs& args, const Window& window, int kv_head,
                                                   int first, bf16* q, int row, const float (&dq)[kDim / 8][4]) {
  constexpr int kChunks = kDim / 8;
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < kChunks; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(q + TileOffset<kDim>(row + g + 8 * half, n) + 2 * t) =
          PackBf16(dq[n][2 * half], dq[n][2 * half + 1]);
    }
  }
  __syncwarp();
  ForEach<16 * kChunks, kWarpSize, 2>(lane, [&](int i) {
    const int r = row + i / kChunks, chunk = i % kChunks, packed = first + r;
    if (packed < window.begin || packed >= window.end || chunk * 8 >= args.kv.head_dim) return;
    const int64_t to = PackedOffset(window.span, args.kv, args.group, kv_head, packed) + chunk * 8;
    StoreVector(static_cast<bf16*>(args.dq) + to, LoadVector(q + TileOffset<kDim>(r, chunk)));
  });
}

// result[kM][16 rows, 32 keys] = rows of `tile` times keys^T
template <int kDim, int kM>
__device__ __forceinline__ void RowsTimesKeys(float (&result)[kM][4][4], const bf16* tile, int row, const bf16* keys) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) FragmentA<kDim>(a[m], tile, row + 16 * m, k);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      uint32_t b[2][2];
      FragmentBOfRows<kDim>(b, keys, 16 * n, k);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        MmaBf16(result[m][2 * n], a[m], b[0]);
        MmaBf16(result[m][2 * n + 1], a[m], b[1]);
      }
    }
  }
}

template <int kDim>
__global__ void __launch_bounds__(QueryShape<kDim>::kThreads)
    BackwardQueriesKernel(AttentionBackwardArgs args, ScoreScale scale) {
  using Shape = QueryShape<kDim>;
  constexpr int kM = Shape::kM, kRows = Shape::kRows, kKeys = Shape::kKeys;
  TANDEM_DYNAMIC_SHARED(bf16, q);  // Q and dO [kRows, kDim], two stages, the table of the rows
  bf16 *const dout = q + kRows * kDim, *const stages = dout + kRows * kDim;
  auto& table = *reinterpret_cast<RowTable<kRows>*>(stages + 2 * Shape::kStage);
  const Window window(args);
  const int kv_head = blockIdx.y;
  // The last rows, which see the most keys, come first.
  const int first = ((window.end - 1) / kRows - static_cast<int>(blockIdx.x)) * kRows;
  const int first_position = max(first, window.begin) / args.group;
  const int end = (min(first + kRows, window.end) - 1) / args.group + 1;
  const int my_row = threadIdx.x / kWarpSize * 16 * kM, lane = threadIdx.x % kWarpSize;
  // A step lies where the parity of its position says: one register less than counting.
  const auto stage_of = [&](int position) { return stages + (position / kKeys & 1) * Shape::kStage; };
  const auto load = [&](int position) {
    LoadPositions<kDim, kKeys, Shape::kThreads>(stage_of(position), args.kv.keys, args.kv.values, args.kv, args.blocks,
                                                kv_head, position, end, threadIdx.x);
    CpAsyncCommit();
  };
  LoadPackedRows<kDim, kRows, Shape::kThreads>(q, args.q, args.dout, window.span, args.kv, args.group, kv_head, first,
                                               window.begin, window.end, threadIdx.x);
  int position = FirstSeen(first_position, args.window) / kKeys * kKeys;
  load(position);

  static_assert(kRows <= Shape::kThreads);
  ReadRow<kRows>(args, window, kv_head, first).Write(table);

  float dq[kM][kDim / 8][4] = {};
  for (; position < end; position += kKeys) {
    CpAsyncWait<0>();
    __syncthreads();  // this step is there, and nobody reads the other stage any more
    if (position + kKeys < end) load(position + kKeys);
    const bf16 *keys = stage_of(position), *values = keys + kKeys * kDim;
    float p[kM][4][4] = {}, ds[kM][4][4] = {};
    RowsTimesKeys<kDim, kM>(p, q, my_row, keys);
    RowsTimesKeys<kDim, kM>(ds, dout, my_row, values);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = my_row + 16 * m + lane / 4 + 8 * half, row_position = table.position[row];
        const float lse = table.lse[row], delta = table.delta[row];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            const int key = position + n * 8 + lane % 4 * 2 + i % 2;
            ScoreGradient(scale, lse, delta, Sees(row_position, key, args.window), p[m][n][i], ds[m][n][i]);
          }
        }
      }
    }
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      uint32_t a[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) FragmentOfResults(a[m], ds[m][2 * k], ds[m][2 * k + 1]);
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[2][2];
        FragmentB<kDim>(b, keys, 16 * k, n);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          MmaBf16(dq[m][2 * n], a[m], b[0]);
          MmaBf16(dq[m][2 * n + 1], a[m], b[1]);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kM; ++m) WriteQueryGradient<kDim>(args, window, kv_head, first, q, my_row + 16 * m, dq[m]);
}

template <int kDim>
cudaError_t LaunchQueries(const AttentionBackwardArgs& args, cudaStream_t stream) {
  using Shape = QueryShape<kDim>;
  const int end = (args.first_position + args.num_rows) * args.group, begin = args.first_position * args.group;
  return Launch(BackwardQueriesKernel<kDim>,
                {.grid = dim3((end - 1) / Shape::kRows - begin / Shape::kRows + 1, args.kv.num_kv_heads),
                 .block = dim3(Shape::kThreads),
                 .shared_bytes = Shape::kSharedBytes,
                 .stream = stream},
                args, ScoreScale::Of(args.scale, args.soft_cap));
}

}  // namespace

cudaError_t LaunchBackwardQueries(const AttentionBackwardArgs& args, cudaStream_t stream) {
  return ForHeadDim(args.kv.head_dim, [&]<int kDim>() { return LaunchQueries<kDim>(args, stream); });
}

}  // namespace tandem::kernels
