#include "optimizer.h"

#include "common/launch.h"
#include "common/reduce.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256;

// torch.nn.utils.clip_grad_norm_ adds this to the norm that it divides by.
constexpr double kClipEpsilon = 1e-6;

struct Part {
  TrainedTensor tensor;
  int64_t first, count;

  __device__ static Part Of(const TrainedTensors& of) {
    const TensorPart part = of.parts[blockIdx.x];
    const TrainedTensor tensor = of.tensors[part.tensor];
    const int64_t first = part.part * kPartElements, rest = tensor.n - first;
    return {tensor, first, rest < kPartElements ? rest : kPartElements};
  }
};

// fn(i, count) for up to four elements from i on: which thread has which does not depend on alignment.
template <typename Fn>
__device__ __forceinline__ void ForFours(const Part& part, Fn&& fn) {
#pragma unroll 2
  for (int64_t i = threadIdx.x * 4; i < part.count; i += kThreads * 4) {
    fn(part.first + i, part.count - i < 4 ? static_cast<int>(part.count - i) : 4);
  }
}

__device__ __forceinline__ void LoadFour(const float* from, int count, float (&values)[4]) {
  if (count == 4 && CanVectorize(from, 0)) return Load(from, values);
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = i < count ? from[i] : 0.0f;
}
__device__ __forceinline__ void StoreFour(float* to, int count, const float (&values)[4]) {
  if (count == 4 && CanVectorize(to, 0)) return Store(to, values);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) to[i] = values[i];
  }
}

__global__ void __launch_bounds__(kThreads) SquaresKernel(ClipArgs args) {
  __shared__ double scratch[kThreads / kWarpSize];
  const Part part = Part::Of(args.of);
  double sum = 0;
  ForFours(part, [&](int64_t i, int count) {
    float values[4];
    LoadFour(part.tensor.gradient + i, count, values);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(values[j]) * values[j];
  });
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) args.partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) ClipKernel(ClipArgs args) {
  __shared__ double scratch[kThreads / kWarpSize];
  double sum = 0;
  for (int i = threadIdx.x; i < args.of.num_parts; i += kThreads) sum += args.partial[i];
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum) / args.divisor;
  const double clip = args.max_norm > 0 ? fmin(1.0, args.max_norm / (norm + kClipEpsilon)) : 1.0;
  *args.norm = norm;
  *args.scale = isfinite(norm) ? static_cast<float>(clip / args.divisor) : __uint_as_float(0x7fffffffu);
}

// Never contracted to multiply-adds: the CPU backend's bits.
__device__ __forceinline__ void Update(const AdamWNumbers& n, float slope, float& value, float& m, float& v) {
  m = __fadd_rn(__fmul_rn(n.beta1, m), __fmul_rn(n.rest1, slope));
  v = __fadd_rn(__fmul_rn(n.beta2, v), __fmul_rn(__fmul_rn(n.rest2, slope), slope));
  const float divisor = __fadd_rn(sqrtf(v) / n.root2, n.epsilon);
  value = __fsub_rn(__fmul_rn(value, n.decay), __fmul_rn(n.step_size, m) / divisor);
}

__global__ void __launch_bounds__(kThreads) AdamWKernel(AdamWArgs args) {
  const float scale = *args.scale;
  if (scale != scale) return;
  const Part part = Part::Of(args.of);
  ForFours(part, [&](int64_t i, int count) {
    float gradients[4], values[4], m[4], v[4];
    LoadFour(part.tensor.gradient + i, count, gradients);
    LoadFour(part.tensor.value + i, count, values);
    LoadFour(part.tensor.m + i, count, m);
    LoadFour(part.tensor.v + i, count, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Update(args.numbers, __fmul_rn(gradients[j], scale), values[j], m[j], v[j]);
      gradients[j] = 0;
    }
    StoreFour(part.tensor.gradient + i, count, gradients);
    StoreFour(part.tensor.value + i, count, values);
    StoreFour(part.tensor.m + i, count, m);
    StoreFour(part.tensor.v + i, count, v);
  });
}

}  // namespace

cudaError_t LaunchClip(const ClipArgs& args, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(args.of.num_parts);
  const cudaError_t error = Launch(SquaresKernel, {.grid = parts, .block = kThreads, .stream = stream}, args);
  if (error != cudaSuccess) return error;
  return Launch(ClipKernel, {.grid = 1, .block = kThreads, .stream = stream}, args);
}

cudaError_t LaunchAdamW(const AdamWArgs& args, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(args.of.num_parts);
  return Launch(AdamWKernel, {.grid = parts, .block = kThreads, .stream = stream}, args);
}

}  // namespace tandem::kernels
