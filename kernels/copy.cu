#include "copy.h"

#include "common/launch.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256, kPerThread = 8;  // one vector of bf16, two of f32

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) ConvertKernel(const From* from, To* to, int64_t n, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
  if (aligned && first + kPerThread <= n) {
    float values[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; i += kVectorSize<From>) {
      float part[kVectorSize<From>];
      Load(from + first + i, part);
#pragma unroll
      for (int j = 0; j < kVectorSize<From>; ++j) values[i + j] = part[j];
    }
#pragma unroll
    for (int i = 0; i < kPerThread; i += kVectorSize<To>) {
      float part[kVectorSize<To>];
#pragma unroll
      for (int j = 0; j < kVectorSize<To>; ++j) part[j] = values[i + j];
      Store(to + first + i, part);
    }
    return;
  }
  for (int64_t i = first; i < n && i < first + kPerThread; ++i) to[i] = FromFloat<To>(ToFloat(from[i]));
}

template <typename From, typename To>
cudaError_t LaunchAs(const ConvertArgs& args, cudaStream_t stream) {
  const From* from = static_cast<const From*>(args.from);
  To* to = static_cast<To*>(args.to);
  const bool aligned = CanVectorize(from, kPerThread) && CanVectorize(to, kPerThread);
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(args.n, kThreads * kPerThread));
  return Launch(ConvertKernel<From, To>, {.grid = blocks, .block = kThreads, .stream = stream}, from, to, args.n,
                aligned);
}

}  // namespace

cudaError_t LaunchConvert(const ConvertArgs& args, cudaStream_t stream) {
  if (args.from_type == Type::kF32) {
    return args.to_type == Type::kF32 ? LaunchAs<float, float>(args, stream) : LaunchAs<float, bf16>(args, stream);
  }
  return args.to_type == Type::kF32 ? LaunchAs<bf16, float>(args, stream) : LaunchAs<bf16, bf16>(args, stream);
}

}  // namespace tandem::kernels
