// Attention forward on plain f32 arithmetic: the f32 half of prefill.h. One warp per (row, head): scores of 32 keys at
// a time, one per lane, then their values, one piece of head_dim per lane. Every row's sums run over its own keys in
// order, so its bits depend on nothing else. Correctness first: keys are read once per query head.
#include "../common/launch.h"
#include "prefill.h"
#include "tile.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxPieces = 256 / kWarpSize;  // elements of head_dim per lane

template <typename T, typename Kv>
__global__ void __launch_bounds__(kWarps* kWarpSize) ScalarAttentionKernel(AttentionArgs args) {
  __shared__ float queries[kWarps][256];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, dim = args.kv.head_dim;
  const AttentionSpan span = args.spans[blockIdx.z];
  const int packed = blockIdx.x * kWarps + warp, kv_head = blockIdx.y;
  const bool active = packed < span.num_rows * args.group;  // the same for the whole warp
  if (active) {
    const T* q = static_cast<const T*>(args.q) + PackedOffset(span, args.kv, args.group, kv_head, packed);
    for (int d = lane; d < dim; d += kWarpSize) queries[warp][d] = ToFloat(q[d]) * args.scale;
  }
  __syncwarp();
  if (!active) return;

  const int position = PackedPosition(span, args.group, packed), end = position + 1;
  const int32_t* blocks = args.blocks + span.first_block;
  float max = -kInfinity, sum = 0, o[kMaxPieces] = {};
  for (int first = FirstSeen(position, args.window); first < end; first += kWarpSize) {
    const int key = first + lane;
    float score = -kInfinity;
    int64_t offset = 0;
    if (key < end) {
      offset = PositionOffset(args.kv, blocks, key, kv_head);
      const Kv* k = static_cast<const Kv*>(args.kv.keys) + offset;
      score = 0;
      for (int d = 0; d < dim; ++d) score = fmaf(queries[warp][d], ToFloat(k[d]), score);
      if (args.soft_cap > 0) score = args.soft_cap * tanhf(score / args.soft_cap);
    }
    const float m = fmaxf(max, WarpMax(score)), rescale = expf(max - m), p = expf(score - m);
    sum = sum * rescale + WarpSum(p);
    max = m;
    for (int i = 0; i < kMaxPieces; ++i) o[i] *= rescale;
    for (int j = 0; j < kWarpSize && first + j < end; ++j) {
      const float weight = __shfl_sync(kAllLanes, p, j);
      const Kv* v = static_cast<const Kv*>(args.kv.values) + __shfl_sync(kAllLanes, offset, j);
#pragma unroll
      for (int i = 0; i < kMaxPieces; ++i) {
        if (i * kWarpSize + lane < dim) o[i] = fmaf(weight, ToFloat(v[i * kWarpSize + lane]), o[i]);
      }
    }
  }
  T* out = static_cast<T*>(args.out) + PackedOffset(span, args.kv, args.group, kv_head, packed);
#pragma unroll
  for (int i = 0; i < kMaxPieces; ++i) {
    if (i * kWarpSize + lane < dim) out[i * kWarpSize + lane] = FromFloat<T>(o[i] / sum);
  }
  if (lane == 0 && args.lse != nullptr) {
    args.lse[PackedIndex(span, args.kv, args.group, kv_head, packed)] = max + logf(sum);
  }
}

template <typename T, typename Kv>
cudaError_t LaunchAs(const AttentionArgs& args, int num_spans, int max_rows, cudaStream_t stream) {
  const unsigned tiles = static_cast<unsigned>(CeilDiv(max_rows * args.group, kWarps));
  return Launch(
      ScalarAttentionKernel<T, Kv>,
      {.grid = dim3(tiles, args.kv.num_kv_heads, num_spans), .block = dim3(kWarps * kWarpSize), .stream = stream},
      args);
}

}  // namespace

cudaError_t LaunchScalarAttention(const AttentionArgs& args, int num_spans, int max_rows, cudaStream_t stream) {
  if (args.kv.head_dim > 256) return cudaErrorInvalidValue;
  if (args.type == Type::kBf16) {
    if (args.kv.type != Type::kBf16) return cudaErrorInvalidValue;
    return LaunchAs<bf16, bf16>(args, num_spans, max_rows, stream);
  }
  return args.kv.type == Type::kBf16 ? LaunchAs<float, bf16>(args, num_spans, max_rows, stream)
                                     : LaunchAs<float, float>(args, num_spans, max_rows, stream);
}

}  // namespace tandem::kernels
