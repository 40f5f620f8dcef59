#include "loss.h"

#include "common/launch.h"
#include "common/reduce.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 512;

// The sum of exp(x - max) over what was added, whose maximum grows on the way (Milakov and Gimelshein 2018). A NaN or
// +inf makes the sum a NaN.
struct RunningSum {
  float max = -INFINITY, sum = 0;

  __device__ __forceinline__ void RaiseTo(float new_max) {
    if (new_max != max) sum *= expf(max - new_max);
    max = new_max;
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const float (&x)[kCount]) {
    float new_max = max;
#pragma unroll
    for (int i = 0; i < kCount; ++i) new_max = fmaxf(new_max, x[i]);
    RaiseTo(new_max);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += x[i] == -INFINITY ? 0.0f : expf(x[i] - max);
  }
};

template <int kVector>
__device__ __forceinline__ void LoadCapped(const float* logits, float cap, float (&x)[kVector]) {
  if constexpr (kVector == 1) {
    x[0] = *logits;
  } else {
    Load(logits, x);
  }
  if (cap > 0) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) x[i] = cap * tanhf(x[i] / cap);
  }
}

template <int kVector>
__device__ __forceinline__ void StoreGradient(float* to, const float (&x)[kVector]) {
  if constexpr (kVector == 1) {
    *to = x[0];
  } else {
    Store(to, x);
  }
}
template <int kVector>
__device__ __forceinline__ void StoreGradient(bf16* to, const float (&x)[kVector]) {
  if constexpr (kVector == 1) {
    *to = FromFloat<bf16>(x[0]);
  } else {
    *reinterpret_cast<uint2*>(to) = make_uint2(PackBf16(x[0], x[1]), PackBf16(x[2], x[3]));
  }
}

// A block to a row.
template <typename G, int kVector>
__global__ void __launch_bounds__(kThreads) CrossEntropyKernel(CrossEntropyArgs args) {
  __shared__ float scratch[kThreads / kWarpSize];
  const int64_t row = blockIdx.x, vocab = args.vocab;
  const float* logits = args.logits + row * vocab;
  const int64_t label = args.labels[row];
  float target[1];
  LoadCapped(logits + label, args.soft_cap, target);  // before the gradient may take its place

  RunningSum running;
#pragma unroll 4
  for (int64_t i = threadIdx.x * kVector; i < vocab; i += kThreads * kVector) {
    float x[kVector];
    LoadCapped(logits + i, args.soft_cap, x);
    running.Add(x);
  }
  const float max = BlockMax<kThreads>(running.max, scratch);
  running.RaiseTo(max);
  const float sum = BlockSum<kThreads>(running.sum, scratch);
  if (threadIdx.x == 0) args.losses[row] = log(static_cast<double>(sum)) + max - target[0];
  if (args.dlogits == nullptr) return;

  G* dlogits = static_cast<G*>(args.dlogits) + row * vocab;
  const float scale = 1.0f / sum;
#pragma unroll 4
  for (int64_t i = threadIdx.x * kVector; i < vocab; i += kThreads * kVector) {
    float x[kVector];
    LoadCapped(logits + i, args.soft_cap, x);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      // d(cap tanh(x / cap)) / dx = 1 - (capped / cap)^2
      const float share = x[j] / args.soft_cap, slope = args.soft_cap > 0 ? 1.0f - share * share : 1.0f;
      x[j] = (expf(x[j] - max) * scale - (i + j == label ? 1.0f : 0.0f)) * slope;
    }
    StoreGradient(dlogits + i, x);
  }
}

template <typename G>
cudaError_t LaunchGradientType(const CrossEntropyArgs& args, cudaStream_t stream) {
  const bool vectors = CanVectorize(args.logits, args.vocab) && reinterpret_cast<uintptr_t>(args.dlogits) % 16 == 0;
  const LaunchConfig config = {.grid = static_cast<unsigned>(args.rows), .block = kThreads, .stream = stream};
  return vectors ? Launch(CrossEntropyKernel<G, 4>, config, args) : Launch(CrossEntropyKernel<G, 1>, config, args);
}

}  // namespace

cudaError_t LaunchCrossEntropy(const CrossEntropyArgs& args, cudaStream_t stream) {
  return args.dlogits_type == Type::kF32 ? LaunchGradientType<float>(args, stream)
                                         : LaunchGradientType<bf16>(args, stream);
}

}  // namespace tandem::kernels
