#include "rope.h"

#include "common/launch.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxItems = int64_t{1} << 30;  // threads: counted in 32 bits

// A thread takes N neighbours of a head's lower half and their partners in the upper half.
template <typename T, int N>
__device__ __forceinline__ void Read(const T* data, float (&values)[N]) {
  if constexpr (N == 1) {
    values[0] = ToFloat(*data);
  } else {
    Load(data, values);
  }
}
template <typename T, int N>
__device__ __forceinline__ void Write(T* data, const float (&values)[N]) {
  if constexpr (N == 1) {
    *data = FromFloat<T>(values[0]);
  } else {
    Store(data, values);
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads) RopeKernel(RopeArgs args) {
  const int half = args.head_dim / 2, per_head = half / N, per_row = args.num_heads * per_head;
  const int item = blockIdx.x * kThreads + threadIdx.x, row = item / per_row;
  if (row >= args.num_rows) return;
  const int position = args.positions[row];
  if (position < 0) return;
  const int within = item % per_row, head = within / per_head, i = within % per_head * N;

  T* low = static_cast<T*>(args.x) + (static_cast<int64_t>(row) * args.num_heads + head) * args.head_dim + i;
  const float* angles = args.table + static_cast<int64_t>(position) * args.head_dim + i;
  float x0[N], x1[N], y0[N], y1[N];
  Read(low, x0);
  Read(low + half, x1);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float cosine = __ldg(angles + j), sine = args.inverse ? -__ldg(angles + half + j) : __ldg(angles + half + j);
    y0[j] = x0[j] * cosine - x1[j] * sine;
    y1[j] = x1[j] * cosine + x0[j] * sine;
  }
  Write(low, y0);
  Write(low + half, y1);
}

template <typename T, int N>
cudaError_t LaunchAs(const RopeArgs& args, cudaStream_t stream) {
  const int64_t items = static_cast<int64_t>(args.num_rows) * args.num_heads * (args.head_dim / 2 / N);
  if (items > kMaxItems) return cudaErrorInvalidValue;
  return Launch(RopeKernel<T, N>,
                {.grid = dim3(static_cast<unsigned>(CeilDiv<int64_t>(items, kThreads))),
                 .block = dim3(kThreads),
                 .stream = stream},
                args);
}

template <typename T>
cudaError_t LaunchTyped(const RopeArgs& args, cudaStream_t stream) {
  return CanVectorize(static_cast<const T*>(args.x), args.head_dim / 2) ? LaunchAs<T, kVectorSize<T>>(args, stream)
                                                                        : LaunchAs<T, 1>(args, stream);
}

}  // namespace

cudaError_t LaunchRope(const RopeArgs& args, cudaStream_t stream) {
  return args.type == Type::kBf16 ? LaunchTyped<bf16>(args, stream) : LaunchTyped<float>(args, stream);
}

}  // namespace tandem::kernels
