#include "backward_scalar.h"

#include "../common/launch.h"
#include "tile.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
constexpr int kMaxPieces = 256 / kWarpSize;  // elements of head_dim per lane: lane, lane + 32, ...

// Elements of one head, a piece per lane; behind head_dim zeros.
template <typename T>
__device__ __forceinline__ void ReadHead(const T* head, int dim, float (&pieces)[kMaxPieces]) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int i = 0; i < kMaxPieces; ++i) {
    pieces[i] = i * kWarpSize + lane < dim ? ToFloat(head[i * kWarpSize + lane]) : 0.0f;
  }
}
__device__ __forceinline__ void WriteHead(float* head, int dim, const float (&pieces)[kMaxPieces]) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int i = 0; i < kMaxPieces; ++i) {
    if (i * kWarpSize + lane < dim) head[i * kWarpSize + lane] = pieces[i];
  }
}
__device__ __forceinline__ float Dot(const float (&x)[kMaxPieces], const float (&y)[kMaxPieces]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kMaxPieces; ++i) sum = fmaf(x[i], y[i], sum);
  return WarpSum(sum);
}
__device__ __forceinline__ void AddScaled(float factor, const float (&x)[kMaxPieces], float (&y)[kMaxPieces]) {
#pragma unroll
  for (int i = 0; i < kMaxPieces; ++i) y[i] = fmaf(factor, x[i], y[i]);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) DeltaKernel(AttentionBackwardArgs args) {
  const int num_heads = args.kv.num_kv_heads * args.group, dim = args.kv.head_dim;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;  // [rows, heads]
  if (index >= static_cast<int64_t>(args.num_rows) * num_heads) return;
  float out[kMaxPieces], dout[kMaxPieces];
  ReadHead(static_cast<const T*>(args.out) + index * dim, dim, out);
  ReadHead(static_cast<const T*>(args.dout) + index * dim, dim, dout);
  const float delta = Dot(out, dout);
  if (threadIdx.x % kWarpSize == 0) args.delta[index] = delta;
}

// P and s dU of one pair.
struct Pair {
  float p, ds;
};
__device__ __forceinline__ Pair PairOf(const AttentionBackwardArgs& args, int64_t index, float product, float dp) {
  float score = product * args.scale, through_cap = args.scale;
  if (args.soft_cap > 0) {
    const float tanh = tanhf(score / args.soft_cap);
    score = args.soft_cap * tanh;
    through_cap *= 1.0f - tanh * tanh;
  }
  const float p = expf(score - args.lse[index]);
  return {p, p * (dp - args.delta[index]) * through_cap};
}

template <typename Kv>
__global__ void __launch_bounds__(kThreads) ScalarKeysKernel(AttentionBackwardArgs args) {
  const int key = blockIdx.x * kWarps + threadIdx.x / kWarpSize, kv_head = blockIdx.y, dim = args.kv.head_dim;
  const int context = args.first_position + args.num_rows;
  const int first = max(key, args.first_position);  // rows [first, end) see the key
  const int end = args.window > 0
                      ? static_cast<int>(min(static_cast<int64_t>(context), static_cast<int64_t>(key) + args.window))
                      : context;
  if (key >= context || first >= end) return;
  const int64_t at = PositionOffset(args.kv, args.blocks, key, kv_head);
  const int64_t gradient = (static_cast<int64_t>(key) * args.kv.num_kv_heads + kv_head) * dim;
  float k[kMaxPieces], v[kMaxPieces], dk[kMaxPieces], dv[kMaxPieces];
  ReadHead(static_cast<const Kv*>(args.kv.keys) + at, dim, k);
  ReadHead(static_cast<const Kv*>(args.kv.values) + at, dim, v);
  ReadHead(args.dk + gradient, dim, dk);
  ReadHead(args.dv + gradient, dim, dv);
  for (int position = end - 1; position >= first; --position) {
    for (int head = args.group - 1; head >= 0; --head) {
      const int64_t row = position - args.first_position;
      const int64_t index = (row * args.kv.num_kv_heads + kv_head) * args.group + head;
      float q[kMaxPieces], dout[kMaxPieces];
      ReadHead(static_cast<const float*>(args.q) + index * dim, dim, q);
      ReadHead(static_cast<const float*>(args.dout) + index * dim, dim, dout);
      const Pair pair = PairOf(args, index, Dot(q, k), Dot(dout, v));
      AddScaled(pair.p, dout, dv);
      AddScaled(pair.ds, q, dk);
    }
  }
  WriteHead(args.dk + gradient, dim, dk);
  WriteHead(args.dv + gradient, dim, dv);
}

template <typename Kv>
__global__ void __launch_bounds__(kThreads) ScalarQueriesKernel(AttentionBackwardArgs args) {
  const int num_heads = args.kv.num_kv_heads * args.group, dim = args.kv.head_dim;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;  // [rows, heads]
  if (index >= static_cast<int64_t>(args.num_rows) * num_heads) return;
  const int position = args.first_position + static_cast<int>(index / num_heads);
  const int kv_head = static_cast<int>(index % num_heads) / args.group;
  float q[kMaxPieces], dout[kMaxPieces], dq[kMaxPieces] = {};
  ReadHead(static_cast<const float*>(args.q) + index * dim, dim, q);
  ReadHead(static_cast<const float*>(args.dout) + index * dim, dim, dout);
  for (int key = FirstSeen(position, args.window); key <= position; ++key) {
    const int64_t at = PositionOffset(args.kv, args.blocks, key, kv_head);
    float k[kMaxPieces], v[kMaxPieces];
    ReadHead(static_cast<const Kv*>(args.kv.keys) + at, dim, k);
    ReadHead(static_cast<const Kv*>(args.kv.values) + at, dim, v);
    AddScaled(PairOf(args, index, Dot(q, k), Dot(dout, v)).ds, k, dq);
  }
  WriteHead(static_cast<float*>(args.dq) + index * dim, dim, dq);
}

unsigned WarpsFor(const AttentionBackwardArgs& args) {
  const int64_t rows = static_cast<int64_t>(args.num_rows) * args.kv.num_kv_heads * args.group;
  return static_cast<unsigned>(CeilDiv<int64_t>(rows, kWarps));
}

template <typename Kv>
cudaError_t LaunchAs(const AttentionBackwardArgs& args, cudaStream_t stream) {
  const unsigned tiles = static_cast<unsigned>(CeilDiv(args.first_position + args.num_rows, kWarps));
  const cudaError_t error =
      Launch(ScalarKeysKernel<Kv>,
             {.grid = dim3(tiles, args.kv.num_kv_heads), .block = dim3(kThreads), .stream = stream}, args);
  if (error != cudaSuccess) return error;
  return Launch(ScalarQueriesKernel<Kv>, {.grid = dim3(WarpsFor(args)), .block = dim3(kThreads), .stream = stream},
                args);
}

}  // namespace

cudaError_t LaunchAttentionDelta(const AttentionBackwardArgs& args, cudaStream_t stream) {
  if (args.kv.head_dim > 256) return cudaErrorInvalidValue;
  const LaunchConfig config{.grid = dim3(WarpsFor(args)), .block = dim3(kThreads), .stream = stream};
  return args.type == Type::kBf16 ? Launch(DeltaKernel<bf16>, config, args) : Launch(DeltaKernel<float>, config, args);
}

cudaError_t LaunchScalarAttentionBackward(const AttentionBackwardArgs& args, cudaStream_t stream) {
  if (args.kv.head_dim > 256 || args.type != Type::kF32) return cudaErrorInvalidValue;
  return args.kv.type == Type::kBf16 ? LaunchAs<bf16>(args, stream) : LaunchAs<float>(args, stream);
}

}  // namespace tandem::kernels
