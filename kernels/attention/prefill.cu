#include "prefill.h"

#include "../common/launch.h"
#include "../common/vector.h"
#include "online_softmax.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;

template <int kDim>
constexpr int kKeysOf = kDim <= 64    ? 64
                        : kDim <= 128 ? 48
                                      : 32;  // of a step: what registers hold
template <int kDim>
constexpr int kMmaRows = PrefillTileRows(kDim) / (16 * kWarps);  // MMA tiles of rows that a warp owns

template <int kDim>
constexpr size_t kSharedBytes = (PrefillTileRows(kDim) + 3 * kKeysOf<kDim>)*kDim * sizeof(bf16) +
                                PrefillTileRows(kDim) * sizeof(int);

// One CTA's tile: where its rows are and which keys they see.
struct Tile {
  AttentionSpan span;
  int kv_head, first, end_row;              // packed rows [first, end_row)
  int first_position, end_position, begin;  // keys [begin, end_position), begin a multiple of a step's
};

__device__ __forceinline__ Tile TileOf(const AttentionArgs& args, const RowTile& item, int rows, int keys) {
  Tile tile = {.span = item.span, .kv_head = static_cast<int>(blockIdx.y), .first = item.first};
  tile.end_row = min(tile.first + rows, tile.span.num_rows * args.group);
  tile.first_position = PackedPosition(tile.span, args.group, tile.first);
  tile.end_position = PackedPosition(tile.span, args.group, tile.end_row - 1) + 1;
  tile.begin = FirstSeen(tile.first_position, args.window) / keys * keys;
  return tile;
}

// Rows of the output go through the shared memory of the warp's own rows of Q, to be written 16 bytes at a time.
template <int kDim>
__device__ __forceinline__ void WriteRows(const AttentionArgs& args, const Tile& tile, bf16* q, int row, float factor,
                                          const OnlineSoftmax& softmax, const float (&o)[kDim / 8][4]) {
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + g + 8 * half;
    const float inverse = 1.0f / softmax.sum[half];
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<uint32_t*>(q + TileOffset<kDim>(r, n) + 2 * t) =
          PackBf16(o[n][2 * half] * inverse, o[n][2 * half + 1] * inverse);
    }
    if (args.lse != nullptr && t == 0 && tile.first + r < tile.end_row) {
      args.lse[PackedIndex(tile.span, args.kv, args.group, tile.kv_head, tile.first + r)] =
          kLn2 * fmaf(softmax.max[half], factor, log2f(softmax.sum[half]));
    }
  }
  __syncwarp();
  constexpr int kChunks = kDim / 8;
  ForEach<16 * kChunks, kWarpSize, 4>(lane, [&](int i) {
    const int r = row + i / kChunks, chunk = i % kChunks, packed = tile.first + r;
    if (packed >= tile.end_row || chunk * 8 >= args.kv.head_dim) return;
    const int64_t to = PackedOffset(tile.span, args.kv, args.group, tile.kv_head, packed) + chunk * 8;
    StoreVector(static_cast<bf16*>(args.out) + to, LoadVector(q + TileOffset<kDim>(r, chunk)));
  });
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, 2)
    PrefillKernel(AttentionArgs args, ScoreScale scale, const RowTile* __restrict__ tiles) {
  constexpr int kRows = PrefillTileRows(kDim), kKeys = kKeysOf<kDim>, kM = kMmaRows<kDim>;
  TANDEM_DYNAMIC_SHARED(bf16, q);  // [kRows, kDim], then V and two times K [kKeys, kDim], then the rows' positions
  bf16 *const values = q + kRows * kDim, *const all_keys = values + kKeys * kDim;
  int* const positions = reinterpret_cast<int*>(all_keys + 2 * kKeys * kDim);
  const Tile tile = TileOf(args, tiles[blockIdx.x], kRows, kKeys);
  const int32_t* blocks = args.blocks + tile.span.first_block;
  const int thread = threadIdx.x, first_row = thread / kWarpSize * 16 * kM;
  // A step's keys lie where the parity of their position says: one register less than counting.
  const auto keys_at = [&](int position) { return all_keys + (position / kKeys & 1) * kKeys * kDim; };
  const auto load = [&](bf16* to, const void* from, int position) {
    LoadPositions<kDim, kKeys, kThreads>(to, from, nullptr, args.kv, blocks, tile.kv_head, position, tile.end_position,
                                         thread);
    CpAsyncCommit();
  };

  LoadPackedRows<kDim, kRows, kThreads>(q, args.q, nullptr, tile.span, args.kv, args.group, tile.kv_head, tile.first, 0,
                                        tile.end_row, thread);
  load(keys_at(tile.begin), args.kv.keys, tile.begin);
  static_assert(kRows <= kThreads);
  if (thread < kRows) positions[thread] = PackedPosition(tile.span, args.group, tile.first + thread);

  OnlineSoftmax softmax[kM];
  float o[kM][kDim / 8][4] = {};

  for (int position = tile.begin; position < tile.end_position; position += kKeys) {
    CpAsyncWait<0>();
    __syncthreads();  // K is there, and nobody reads the last V and K any more
    // Both are asked for here, while no scores are held: registers are dear.
    load(values, args.kv.values, position);
    load(keys_at(position + kKeys), args.kv.keys, position + kKeys);
    const bf16* keys = keys_at(position);

    float s[kM][kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) FragmentA<kDim>(a[m], q, first_row + 16 * m, k);
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[2][2];
        FragmentBOfRows<kDim>(b, keys, 16 * n, k);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          MmaBf16(s[m][2 * n], a[m], b[0]);
          MmaBf16(s[m][2 * n + 1], a[m], b[1]);
        }
      }
    }

    CpAsyncWait<1>();
    __syncthreads();  // V is there
    const bool masked =
        position + kKeys > tile.first_position + 1 || (args.window > 0 && position + args.window < tile.end_position);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      float rescale[2];
      CapScores(s[m], scale);
      if (masked) {  // few steps are, and registers are dear: positions come from shared memory
        const int row = first_row + 16 * m + thread % kWarpSize / 4;
        MaskScores(s[m], RowMask{{positions[row], positions[row + 8]}, args.window}, position);
      }
      softmax[m].Update(s[m], scale.factor, rescale);
      RescaleRows(o[m], rescale);
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t p[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) FragmentOfResults(p[m], s[m][2 * k], s[m][2 * k + 1]);
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[2][2];
        FragmentB<kDim>(b, values, 16 * k, n);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          MmaBf16(o[m][2 * n], p[m], b[0]);
          MmaBf16(o[m][2 * n + 1], p[m], b[1]);
        }
      }
    }
  }
  CpAsyncWait<0>();
  // Read again rather than kept: the loop needs all registers.
  const Tile whole = TileOf(args, tiles[blockIdx.x], kRows, kKeys);
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    softmax[m].Finish();
    WriteRows<kDim>(args, whole, q, first_row + 16 * m, scale.factor, softmax[m], o[m]);
  }
}

}  // namespace

cudaError_t LaunchPrefillAttention(const AttentionArgs& args, const RowTile* tiles, int num_tiles,
                                   cudaStream_t stream) {
  if (args.type != Type::kBf16 || args.kv.type != Type::kBf16) return cudaErrorInvalidValue;
  return ForHeadDim(args.kv.head_dim, [&]<int kDim>() {
    return Launch(PrefillKernel<kDim>,
                  {.grid = dim3(num_tiles, args.kv.num_kv_heads),
                   .block = dim3(kThreads),
                   .shared_bytes = kSharedBytes<kDim>,
                   .stream = stream},
                  args, ScoreScale::Of(args.scale, args.soft_cap), tiles);
  });
}

}  // namespace tandem::kernels
