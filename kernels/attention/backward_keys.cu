// dK and dV of attention's backward (backward.h): a CTA owns a tile of keys of one KV head.
#include "../common/launch.h"
#include "../common/vector.h"
#include "backward_score.h"

namespace tandem::kernels {
namespace {

template <int kDim>
struct KeysShape {
  static constexpr int kWarps = kDim <= 128 ? 8 : 4, kThreads = kWarps * kWarpSize;
  static constexpr int kKeys = 16 * kWarps;            // of a CTA: 16 for each warp
  static constexpr int kRows = kDim <= 128 ? 64 : 32;  // packed query rows of a step
  static constexpr int kPart = 32;                     // of which S and dP are in registers at once
  static constexpr int kStage = 2 * kRows * kDim;      // elements: Q, then dO
  static_assert(kRows <= kThreads);
  static constexpr size_t kSharedBytes = (2 * kKeys * kDim + 2 * kStage) * sizeof(bf16) + 2 * sizeof(RowTable<kRows>);
};

// Rows [first, first + kRows) of Q and dO.
template <int kDim>
__device__ __forceinline__ void LoadRows(const AttentionBackwardArgs& args, const Window& window, int kv_head,
                                         int first, bf16* stage) {
  using Shape = KeysShape<kDim>;
  constexpr int kRows = Shape::kRows, kThreads = Shape::kThreads;
  LoadPackedRows<kDim, kRows, kThreads>(stage, args.q, args.dout, window.span, args.kv, args.group, kv_head, first,
                                        window.begin, window.end, threadIdx.x);
  CpAsyncCommit();
}

// One warp's 16 keys: accumulators as D fragments, continued from and written back to [positions, kv_heads * head_dim].
template <int kDim>
struct KeyGradient {
  float d[kDim / 8][4];

  template <typename Fn>
  __device__ __forceinline__ void ForPairs(const AttentionBackwardArgs& args, float* base, int kv_head, int key,
                                           int end, Fn&& fn) {
    const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int position = key + g + 8 * half;
      float* row = base + (static_cast<int64_t>(position) * args.kv.num_kv_heads + kv_head) * args.kv.head_dim + 2 * t;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        fn(position < end && n * 8 < args.kv.head_dim, reinterpret_cast<float2*>(row + n * 8), d[n][2 * half],
           d[n][2 * half + 1]);
      }
    }
  }
  __device__ __forceinline__ void Read(const AttentionBackwardArgs& args, float* base, int kv_head, int key, int end) {
    ForPairs(args, base, kv_head, key, end, [](bool there, float2* at, float& x, float& y) {
      const float2 pair = there ? *at : make_float2(0, 0);
      x = pair.x;
      y = pair.y;
    });
  }
  __device__ __forceinline__ void Write(const AttentionBackwardArgs& args, float* base, int kv_head, int key, int end) {
    ForPairs(args, base, kv_head, key, end, [](bool there, float2* at, float& x, float& y) {
      if (there) *at = make_float2(x, y);
    });
  }
  // += weights^T[16, 32] tile[row .. row + 32, kDim]; `weights` as four D[16, 8]. From the last rows to the first.
  __device__ __forceinline__ void Add(const float (&weights)[4][4], const bf16* tile, int row) {
#pragma unroll
    for (int k = 1; k >= 0; --k) {
      uint32_t a[4];
      FragmentOfResults(a, weights[2 * k], weights[2 * k + 1]);
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[2][2];
        FragmentB<kDim>(b, tile, row + 16 * k, n);
        MmaBf16(d[2 * n], a, b[0]);
        MmaBf16(d[2 * n + 1], a, b[1]);
      }
    }
  }
};

// product[16 keys, 32 rows] = keys[key .. key + 16] tile[row .. row + 32]^T
template <int kDim>
__device__ __forceinline__ void KeysTimesRows(float (&product)[4][4], const bf16* keys, int key, const bf16* tile,
                                              int row) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t a[4];
    FragmentA<kDim>(a, keys, key, k);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      uint32_t b[2][2];
      FragmentBOfRows<kDim>(b, tile, row + 16 * n, k);
      MmaBf16(product[2 * n], a, b[0]);
      MmaBf16(product[2 * n + 1], a, b[1]);
    }
  }
}

// kDk, kDv: which of the two this kernel computes. Both, where both fit in registers.
template <int kDim, bool kDk, bool kDv>
__global__ void __launch_bounds__(KeysShape<kDim>::kThreads)
    BackwardKeysKernel(AttentionBackwardArgs args, ScoreScale scale) {
  using Shape = KeysShape<kDim>;
  constexpr int kRows = Shape::kRows, kPart = Shape::kPart;
  TANDEM_DYNAMIC_SHARED(bf16, keys);  // K and V [kKeys, kDim], two stages, the tables of their rows
  bf16 *const values = keys + Shape::kKeys * kDim, *const stages = values + Shape::kKeys * kDim;
  auto* const tables = reinterpret_cast<RowTable<kRows>*>(stages + 2 * Shape::kStage);
  const Window window(args);
  const int kv_head = blockIdx.y, context = args.first_position + args.num_rows;
  const int first_key = (blockIdx.x + FirstSeen(args.first_position, args.window) / Shape::kKeys) * Shape::kKeys;
  const int my_key = threadIdx.x / kWarpSize * 16, lane = threadIdx.x % kWarpSize;

  // Packed rows that see some key of the CTA: [low, high).
  const int low = max(window.begin, first_key * args.group);
  const int high =
      args.window > 0
          ? static_cast<int>(min(static_cast<int64_t>(window.end),
                                 (static_cast<int64_t>(first_key) + Shape::kKeys + args.window - 1) * args.group))
          : window.end;
  if (low >= high) return;
  const int first_step = low / kRows;
  int step = (high - 1) / kRows;

  // V is for dP only.
  LoadPositions<kDim, Shape::kKeys, Shape::kThreads>(keys, args.kv.keys, kDk ? args.kv.values : nullptr, args.kv,
                                                     args.blocks, kv_head, first_key, context, threadIdx.x);
  LoadRows<kDim>(args, window, kv_head, step * kRows, stages);
  RowEntry entry = ReadRow<kRows>(args, window, kv_head, step * kRows);
  entry.Write(tables[0]);
  KeyGradient<kDim> dk, dv;
  if constexpr (kDk) dk.Read(args, args.dk, kv_head, first_key + my_key, context);
  if constexpr (kDv) dv.Read(args, args.dv, kv_head, first_key + my_key, context);

  for (int parity = 0; step >= first_step; --step, parity ^= 1) {
    CpAsyncWait<0>();
    __syncthreads();  // this step is there, and nobody reads the other stage any more
    if (step > first_step) {
      LoadRows<kDim>(args, window, kv_head, (step - 1) * kRows, stages + (parity ^ 1) * Shape::kStage);
    }
    // In registers until the step is done: nobody waits for them.
    entry = ReadRow<kRows>(args, window, kv_head, (step - 1) * kRows);
    const bf16 *q = stages + parity * Shape::kStage, *dout = q + kRows * kDim;
    const RowTable<kRows>& table = tables[parity];
#pragma unroll 1
    for (int part = kRows - kPart; part >= 0; part -= kPart) {
      const int first_row = step * kRows + part;
      // Rows before the warp's first key see none of its keys, and their products are zeros.
      if (first_row + kPart <= (first_key + my_key) * args.group) continue;
      float p[4][4] = {}, ds[4][4] = {};
      KeysTimesRows<kDim>(p, keys, my_key, q, part);
      if constexpr (kDk) KeysTimesRows<kDim>(ds, values, my_key, dout, part);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int column = 0; column < 2; ++column) {
          const int row = part + n * 8 + lane % 4 * 2 + column, position = table.position[row];
          const float lse = table.lse[row], delta = table.delta[row];
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int key = first_key + my_key + lane / 4 + 8 * half, i = 2 * half + column;
            ScoreGradient(scale, lse, delta, Sees(position, key, args.window), p[n][i], ds[n][i]);
          }
        }
      }
      if constexpr (kDv) dv.Add(p, dout, part);
      if constexpr (kDk) dk.Add(ds, q, part);
    }
    entry.Write(tables[parity ^ 1]);
  }
  if constexpr (kDk) dk.Write(args, args.dk, kv_head, first_key + my_key, context);
  if constexpr (kDv) dv.Write(args, args.dv, kv_head, first_key + my_key, context);
}

template <int kDim, bool kDk, bool kDv>
cudaError_t LaunchKeys(const AttentionBackwardArgs& args, cudaStream_t stream) {
  using Shape = KeysShape<kDim>;
  const int skipped = FirstSeen(args.first_position, args.window) / Shape::kKeys;
  const int tiles = CeilDiv(args.first_position + args.num_rows, Shape::kKeys) - skipped;
  return Launch(BackwardKeysKernel<kDim, kDk, kDv>,
                {.grid = dim3(tiles, args.kv.num_kv_heads),
                 .block = dim3(Shape::kThreads),
                 .shared_bytes = Shape::kSharedBytes,
                 .stream = stream},
                args, ScoreScale::Of(args.scale, args.soft_cap));
}

}  // namespace

cudaError_t LaunchBackwardKeys(const AttentionBackwardArgs& args, cudaStream_t stream) {
  return ForHeadDim(args.kv.head_dim, [&]<int kDim>() {
    if constexpr (kDim <= 128) {
      return LaunchKeys<kDim, true, true>(args, stream);
    } else {
      const cudaError_t error = LaunchKeys<kDim, false, true>(args, stream);
      return error == cudaSuccess ? LaunchKeys<kDim, true, false>(args, stream) : error;
    }
  });
}

}  // namespace tandem::kernels
