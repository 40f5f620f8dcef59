// One kernel for everything that computes element i of its outputs from element i of its inputs, whatever the shape.
// Memory bound: a thread moves sixteen bytes per tensor, and the 2048 threads of an SM have 32 KiB per tensor under
// way.
#pragma once

#include "common/launch.h"
#include "common/vector.h"

namespace tandem::kernels {

// Where a function reads and writes. An output may be one of the inputs.
template <typename T, int kInputs, int kOutputs>
struct Streams {
  const T* in[kInputs];  // [n] each
  T* out[kOutputs];      // [n] each
};

// Fn: void operator()(const float (&in)[kInputs], float (&out)[kOutputs]) const, for one element.
template <typename T, int kInputs, int kOutputs, typename Fn>
__global__ void __launch_bounds__(256)
    ElementwiseKernel(Streams<T, kInputs, kOutputs> streams, int64_t n, bool aligned, Fn fn) {
  constexpr int kVector = kVectorSize<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kVector;
  if (first >= n) return;
  float in[kInputs][kVector], out[kOutputs][kVector];
  const bool whole = aligned && first + kVector <= n;
#pragma unroll
  for (int s = 0; s < kInputs; ++s) {
    if (whole) {
      Load(streams.in[s] + first, in[s]);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) in[s][i] = first + i < n ? ToFloat(streams.in[s][first + i]) : 0.0f;
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    float of[kInputs], result[kOutputs];
#pragma unroll
    for (int s = 0; s < kInputs; ++s) of[s] = in[s][i];
    fn(of, result);
#pragma unroll
    for (int s = 0; s < kOutputs; ++s) out[s][i] = result[s];
  }
#pragma unroll
  for (int s = 0; s < kOutputs; ++s) {
    if (whole) {
      Store(streams.out[s] + first, out[s]);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        if (first + i < n) streams.out[s][first + i] = FromFloat<T>(out[s][i]);
      }
    }
  }
}

template <typename T, int kInputs, int kOutputs, typename Fn>
cudaError_t LaunchElementwise(const Streams<T, kInputs, kOutputs>& streams, int64_t n, const Fn& fn,
                              cudaStream_t stream) {
  bool aligned = true;
  for (const T* in : streams.in) aligned = aligned && CanVectorize(in, 0);
  for (const T* out : streams.out) aligned = aligned && CanVectorize(out, 0);
  constexpr int kThreads = 256, kElements = kThreads * kVectorSize<T>;
  return Launch(ElementwiseKernel<T, kInputs, kOutputs, Fn>,
                {.grid = static_cast<unsigned>(CeilDiv<int64_t>(n, kElements)), .block = kThreads, .stream = stream},
                streams, n, aligned, fn);
}

}  // namespace tandem::kernels
