#include "backward.h"

#include "../common/launch.h"
#include "../common/vector.h"
#include "backward_scalar.h"
#include "tile.h"

namespace tandem::kernels {
namespace {

// Packed rows are numbered from position 0 here, so that tiles of them lie at absolute positions: the window's are
// [Begin(), End()).
struct Window {
  AttentionSpan span;  // row 0 of the tensors is the window's first
  int begin, end;
  __device__ __forceinline__ explicit Window(const AttentionBackwardArgs& args)
      : span{.first_row = -args.first_position, .num_rows = args.num_rows, .first_position = 0},
        begin(args.first_position * args.group),
        end((args.first_position + args.num_rows) * args.group) {}
};

// P and dU of one score. `s` is q.k, `dp` dO.v; `lse` in units of log 2.
struct ScoreGradient {
  float scale, soft_cap;
  __device__ __forceinline__ void operator()(float lse, float delta, bool seen, float& s, float& dp) const {
    float through_cap = scale;
    float score = s * scale;
    if (soft_cap > 0) {
      const float tanh = Tanh(score / soft_cap);
      score = soft_cap * tanh;
      through_cap = scale * (1.0f - tanh * tanh);
    }
    s = seen ? Exp2(fmaf(score, kLog2E, -lse)) : 0.0f;
    dp = s * (dp - delta) * through_cap;  // s dU: the scale of dQ and dK is in it
  }
};

__device__ __forceinline__ bool Sees(int position, int key, int window) {
  return key <= position && (window == 0 || key > position - window);
}

// --- dK and dV
// --------------------------------------------------------------------------------------------------------

template <int kDim>
struct KeysShape {
  static constexpr int kWarps = kDim <= 128 ? 8 : 4, kThreads = kWarps * kWarpSize;
  static constexpr int kKeys = 16 * kWarps;            // of a CTA: 16 for each warp
  static constexpr int kRows = kDim <= 128 ? 64 : 32;  // packed query rows of a step
  static constexpr int kPart = 32;                     // of which S and dP are in registers at once
  static constexpr int kStage = 2 * kRows * kDim;      // elements: Q, then dO
  static constexpr int kStageFloats = 2 * kRows;       // lse, then delta
  static constexpr size_t kSharedBytes =
      (2 * kKeys * kDim + 2 * kStage) * sizeof(bf16) + 2 * kStageFloats * sizeof(float);
};

// Rows [first, first + kRows) of Q, dO, lse and delta. Rows outside of the window get lse = infinity: P = 0.
template <int kDim>
__device__ __forceinline__ void LoadRows(const AttentionBackwardArgs& args, const Window& window, int kv_head,
                                         int first, bf16* stage, float* floats) {
  using Shape = KeysShape<kDim>;
  constexpr int kRows = Shape::kRows, kThreads = Shape::kThreads;
  LoadPackedRows<kDim, kRows, kThreads>(stage, args.q, window.span, args.kv, args.group, kv_head, first, window.begin,
                                        window.end, threadIdx.x);
  LoadPackedRows<kDim, kRows, kThreads>(stage + kRows * kDim, args.dout, window.span, args.kv, args.group, kv_head,
                                        first, window.begin, window.end, threadIdx.x);
  CpAsyncCommit();
  for (int i = threadIdx.x; i < kRows; i += kThreads) {
    const int packed = first + i;
    const bool there = packed >= window.begin && packed < window.end;
    const int64_t index = there ? PackedIndex(window.span, args.kv, args.group, kv_head, packed) : 0;
    floats[i] = there ? args.lse[index] * kLog2E : kInfinity;
    floats[kRows + i] = there ? args.delta[index] : 0.0f;
  }
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
__global__ void __launch_bounds__(KeysShape<kDim>::kThreads) BackwardKeysKernel(AttentionBackwardArgs args) {
  using Shape = KeysShape<kDim>;
  constexpr int kRows = Shape::kRows, kPart = Shape::kPart;
  TANDEM_DYNAMIC_SHARED(bf16, keys);  // K and V [kKeys, kDim], two stages, lse and delta of two stages
  bf16 *const values = keys + Shape::kKeys * kDim, *const stages = values + Shape::kKeys * kDim;
  float* const floats = reinterpret_cast<float*>(stages + 2 * Shape::kStage);
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

  LoadPositions<kDim, Shape::kKeys, Shape::kThreads>(keys, args.kv.keys, args.kv, args.blocks, kv_head, first_key,
                                                     context, threadIdx.x);
  if constexpr (kDk) {
    LoadPositions<kDim, Shape::kKeys, Shape::kThreads>(values, args.kv.values, args.kv, args.blocks, kv_head, first_key,
                                                       context, threadIdx.x);
  }
  LoadRows<kDim>(args, window, kv_head, step * kRows, stages, floats);
  KeyGradient<kDim> dk, dv;
  if constexpr (kDk) dk.Read(args, args.dk, kv_head, first_key + my_key, context);
  if constexpr (kDv) dv.Read(args, args.dv, kv_head, first_key + my_key, context);

  const ScoreGradient gradient{args.scale, args.soft_cap};
  for (int parity = 0; step >= first_step; --step, parity ^= 1) {
    CpAsyncWait<0>();
    __syncthreads();  // this step is there, and nobody reads the other stage any more
    if (step > first_step) {
      LoadRows<kDim>(args, window, kv_head, (step - 1) * kRows, stages + (parity ^ 1) * Shape::kStage,
                     floats + (parity ^ 1) * Shape::kStageFloats);
    }
    const bf16 *q = stages + parity * Shape::kStage, *dout = q + kRows * kDim;
    const float *lse = floats + parity * Shape::kStageFloats, *delta = lse + kRows;
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
          const int row = n * 8 + lane % 4 * 2 + column, position = (first_row + row) / args.group;
          const float row_lse = lse[part + row], row_delta = delta[part + row];
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int key = first_key + my_key + lane / 4 + 8 * half, i = 2 * half + column;
            gradient(row_lse, row_delta, Sees(position, key, args.window), p[n][i], ds[n][i]);
          }
        }
      }
      if constexpr (kDv) dv.Add(p, dout, part);
      if constexpr (kDk) dk.Add(ds, q, part);
    }
  }
  if constexpr (kDk) dk.Write(args, args.dk, kv_head, first_key + my_key, context);
  if constexpr (kDv) dv.Write(args, args.dv, kv_head, first_key + my_key, context);
}

// --- dQ
// ---------------------------------------------------------------------------------------------------------------

template <int kDim>
struct QueryShape {
  static constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
  static constexpr int kM = kDim <= 128 ? 2 : 1;  // MMA tiles of rows that a warp owns
  static constexpr int kRows = 16 * kM * kWarps;
  static constexpr int kKeys = 32;                 // of a step
  static constexpr int kStage = 2 * kKeys * kDim;  // elements: K, then V
  static constexpr size_t kSharedBytes = (2 * kRows * kDim + 2 * kStage) * sizeof(bf16);
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
#pragma unroll 4
  for (int i = lane; i < 16 * kChunks; i += kWarpSize) {
    const int r = row + i / kChunks, chunk = i % kChunks, packed = first + r;
    if (packed < window.begin || packed >= window.end || chunk * 8 >= args.kv.head_dim) continue;
    const int64_t to = PackedOffset(window.span, args.kv, args.group, kv_head, packed) + chunk * 8;
    StoreVector(static_cast<bf16*>(args.dq) + to, LoadVector(q + TileOffset<kDim>(r, chunk)));
  }
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
__global__ void __launch_bounds__(QueryShape<kDim>::kThreads) BackwardQueriesKernel(AttentionBackwardArgs args) {
  using Shape = QueryShape<kDim>;
  constexpr int kM = Shape::kM, kRows = Shape::kRows, kKeys = Shape::kKeys;
  TANDEM_DYNAMIC_SHARED(bf16, q);  // Q and dO [kRows, kDim], two stages
  bf16 *const dout = q + kRows * kDim, *const stages = dout + kRows * kDim;
  const Window window(args);
  const int kv_head = blockIdx.y;
  // The last rows, which see the most keys, come first.
  const int first = ((window.end - 1) / kRows - static_cast<int>(blockIdx.x)) * kRows;
  const int first_position = max(first, window.begin) / args.group;
  const int end = (min(first + kRows, window.end) - 1) / args.group + 1;
  const int my_row = threadIdx.x / kWarpSize * 16 * kM, lane = threadIdx.x % kWarpSize;
  const auto load = [&](int stage, int position) {
    bf16* to = stages + stage * Shape::kStage;
    LoadPositions<kDim, kKeys, Shape::kThreads>(to, args.kv.keys, args.kv, args.blocks, kv_head, position, end,
                                                threadIdx.x);
    LoadPositions<kDim, kKeys, Shape::kThreads>(to + kKeys * kDim, args.kv.values, args.kv, args.blocks, kv_head,
                                                position, end, threadIdx.x);
    CpAsyncCommit();
  };
  LoadPackedRows<kDim, kRows, Shape::kThreads>(q, args.q, window.span, args.kv, args.group, kv_head, first,
                                               window.begin, window.end, threadIdx.x);
  LoadPackedRows<kDim, kRows, Shape::kThreads>(dout, args.dout, window.span, args.kv, args.group, kv_head, first,
                                               window.begin, window.end, threadIdx.x);
  int position = FirstSeen(first_position, args.window) / kKeys * kKeys;
  load(0, position);

  float lse[kM][2], delta[kM][2];  // of rows g and g + 8
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int packed = first + my_row + 16 * m + lane / 4 + 8 * half;
      const bool there = packed >= window.begin && packed < window.end;
      const int64_t index = there ? PackedIndex(window.span, args.kv, args.group, kv_head, packed) : 0;
      lse[m][half] = there ? args.lse[index] * kLog2E : kInfinity;
      delta[m][half] = there ? args.delta[index] : 0.0f;
    }
  }

  const ScoreGradient gradient{args.scale, args.soft_cap};
  float dq[kM][kDim / 8][4] = {};
  for (int parity = 0; position < end; position += kKeys, parity ^= 1) {
    CpAsyncWait<0>();
    __syncthreads();  // this step is there, and nobody reads the other stage any more
    if (position + kKeys < end) load(parity ^ 1, position + kKeys);
    const bf16 *keys = stages + parity * Shape::kStage, *values = keys + kKeys * kDim;
    float p[kM][4][4] = {}, ds[kM][4][4] = {};
    RowsTimesKeys<kDim, kM>(p, q, my_row, keys);
    RowsTimesKeys<kDim, kM>(ds, dout, my_row, values);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row_position = (first + my_row + 16 * m + lane / 4 + 8 * half) / args.group;
#pragma unroll
        for (int n = 0; n < 4; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            const int key = position + n * 8 + lane % 4 * 2 + i % 2;
            gradient(lse[m][half], delta[m][half], Sees(row_position, key, args.window), p[m][n][i], ds[m][n][i]);
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

// --- launching
// --------------------------------------------------------------------------------------------------------

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
                args);
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
                args);
}

}  // namespace

cudaError_t LaunchAttentionBackward(const AttentionBackwardArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return cudaSuccess;
  if (const cudaError_t error = LaunchAttentionDelta(args, stream); error != cudaSuccess) return error;
  if (args.type == Type::kF32) return LaunchScalarAttentionBackward(args, stream);
  if (args.kv.type != Type::kBf16) return cudaErrorInvalidValue;
  return ForHeadDim(args.kv.head_dim, [&]<int kDim>() {
    cudaError_t error;
    if constexpr (kDim <= 128) {
      error = LaunchKeys<kDim, true, true>(args, stream);
    } else {
      error = LaunchKeys<kDim, false, true>(args, stream);
      if (error == cudaSuccess) error = LaunchKeys<kDim, true, false>(args, stream);
    }
    return error == cudaSuccess ? LaunchQueries<kDim>(args, stream) : error;
  });
}

}  // namespace tandem::kernels
