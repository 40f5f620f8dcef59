#include "optimizer.h"

#include "common/reduce.h"
#include "elementwise.h"

namespace tandem::kernels {
namespace {

// Of gradient, parameter, m, v: the new parameter, m, v. Never contracted to multiply-adds: the CPU backend's bits.
struct AdamWFn {
  AdamWNumbers n;
  __device__ __forceinline__ void operator()(const float (&in)[4], float (&out)[3]) const {
    const float slope = __fmul_rn(in[0], n.gradient_scale);
    const float m = __fadd_rn(__fmul_rn(n.beta1, in[2]), __fmul_rn(n.rest1, slope));
    const float v = __fadd_rn(__fmul_rn(n.beta2, in[3]), __fmul_rn(__fmul_rn(n.rest2, slope), slope));
    const float divisor = __fadd_rn(sqrtf(v) / n.root2, n.epsilon);
    out[0] = __fsub_rn(__fmul_rn(in[1], n.decay), __fmul_rn(n.step_size, m) / divisor);
    out[1] = m;
    out[2] = v;
  }
};

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) SquaresKernel(const float* x, int64_t n, bool aligned, double* partial) {
  __shared__ double scratch[kThreads / kWarpSize];
  const int64_t first = blockIdx.x * kSquaresPerBlock;
  const int64_t count = first + kSquaresPerBlock <= n ? kSquaresPerBlock : n - first;
  // The same elements in the same order for the same thread, aligned or not.
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x * 4; i < count; i += kThreads * 4) {
    float values[4] = {};
    if (aligned && i + 4 <= count) {
      Load(x + first + i, values);
    } else {
      for (int64_t j = 0; j < 4 && i + j < count; ++j) values[j] = x[first + i + j];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(values[j]) * values[j];
  }
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) AddUpKernel(const double* partial, int64_t count, double* sum) {
  __shared__ double scratch[kThreads / kWarpSize];
  double own = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) own += partial[i];
  own = BlockSum<kThreads>(own, scratch);
  if (threadIdx.x == 0) *sum = own;
}

}  // namespace

cudaError_t LaunchAdamW(const AdamWArgs& args, cudaStream_t stream) {
  return LaunchElementwise<float, 4, 3>({{args.gradient, args.parameter, args.m, args.v},  //
                                         {args.parameter, args.m, args.v}},
                                        args.n, AdamWFn{args.numbers}, stream);
}

cudaError_t LaunchSumOfSquares(const SumOfSquaresArgs& args, cudaStream_t stream) {
  const int64_t blocks = NumSquareBlocks(args.n);
  const cudaError_t error =
      Launch(SquaresKernel, {.grid = static_cast<unsigned>(blocks), .block = kThreads, .stream = stream}, args.x,
             args.n, CanVectorize(args.x, 0), args.partial);
  if (error != cudaSuccess) return error;
  return Launch(AddUpKernel, {.grid = 1, .block = kThreads, .stream = stream}, args.partial, blocks, args.sum);
}

}  // namespace tandem::kernels
