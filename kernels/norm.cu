#include "norm.h"

#include "common/launch.h"
#include "common/reduce.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

// A group of kThreads neighbouring threads has one row: 16 or 32 lanes, or a block. kVector elements at a time, 1 where
// rows are not 16-byte aligned.
template <typename T, int kThreadsOfRow, int kVectorOfRow>
struct RowShape {
  using Element = T;
  // Rows of f32 belong to the small models that are compared with other implementations.
  using Accumulator = std::conditional_t<std::is_same_v<T, float>, double, float>;
  static constexpr int kThreads = kThreadsOfRow, kVector = kVectorOfRow;
  static constexpr int kBlock = kThreads < 128 ? 128 : kThreads;
  static constexpr int kRowsOfBlock = kBlock / kThreads;
};

template <int kVector, typename T>
__device__ __forceinline__ void LoadSome(const T* data, float (&values)[kVector]) {
  if constexpr (kVector == 1) {
    values[0] = ToFloat(*data);
  } else if constexpr (kVector == kVectorSize<T>) {
    Load(data, values);
  } else {  // the weights of eight bf16
    static_assert(kVector == 2 * kVectorSize<T>);
    float part[2][kVector / 2];
    Load(data, part[0]);
    Load(data + kVector / 2, part[1]);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[i] = part[i / (kVector / 2)][i % (kVector / 2)];
  }
}

template <int kVector, typename T>
__device__ __forceinline__ void StoreSome(T* data, const float (&values)[kVector]) {
  if constexpr (kVector == 1) {
    *data = FromFloat<T>(values[0]);
  } else {
    Store(data, values);
  }
}

template <typename Row>
struct RowOfThread {
  int64_t row;
  int lane;
  bool exists;
};

// Groups beyond the last row take part in the reductions of their warp and do nothing else.
template <typename Row>
__device__ __forceinline__ RowOfThread<Row> ThisRow(int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Row::kRowsOfBlock + threadIdx.x / Row::kThreads;
  return {row < rows ? row : rows - 1, static_cast<int>(threadIdx.x % Row::kThreads), row < rows};
}

// fn(i) for this thread's first elements of vectors.
template <typename Row, typename Fn>
__device__ __forceinline__ void ForVectors(int lane, int64_t columns, Fn fn) {
#pragma unroll 4
  for (int64_t i = lane * Row::kVector; i < columns; i += Row::kThreads * Row::kVector) fn(i);
}

template <typename Row>
__device__ __forceinline__ typename Row::Accumulator RowSum(typename Row::Accumulator value) {
  if constexpr (Row::kThreads <= kWarpSize) {
    return WarpSum<Row::kThreads>(value);
  } else {
    __shared__ typename Row::Accumulator scratch[Row::kThreads / kWarpSize];
    return BlockSum<Row::kThreads>(value, scratch);
  }
}

// The double or float behind sqrt and rsqrt by overload.
__device__ __forceinline__ float ReciprocalRoot(float x) {
  return 1.0f / sqrtf(x);
}
__device__ __forceinline__ double ReciprocalRoot(double x) {
  return 1.0 / sqrt(x);
}

template <typename Row>
__global__ void __launch_bounds__(Row::kBlock) RmsNormKernel(NormArgs args) {
  using T = typename Row::Element;
  using A = typename Row::Accumulator;
  constexpr int kVector = Row::kVector;
  const auto [row, lane, exists] = ThisRow<Row>(args.rows);
  const T* x = static_cast<const T*>(args.x) + row * args.columns;
  T* y = static_cast<T*>(args.y) + row * args.columns;
  A squares = 0;
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector];
    LoadSome(x + i, values);
#pragma unroll
    for (int j = 0; j < kVector; ++j) squares += static_cast<A>(values[j]) * values[j];
  });
  squares = RowSum<Row>(squares);
  if (!exists) return;
  const float scale =
      static_cast<float>(ReciprocalRoot(squares / static_cast<A>(args.columns) + static_cast<A>(args.epsilon)));
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], weights[kVector], before[kVector] = {};
    LoadSome(x + i, values);
    LoadSome(args.weight + i, weights);
    if (args.accumulate) LoadSome(y + i, before);
#pragma unroll
    for (int j = 0; j < kVector; ++j) values[j] = before[j] + values[j] * scale * weights[j];
    StoreSome(y + i, values);
  });
}

// With r = 1 / rms: dx = r (dy w) - x r^3 / columns * sum(dy w x).
template <typename Row>
__global__ void __launch_bounds__(Row::kBlock) RmsNormBackwardKernel(NormBackwardArgs args) {
  using T = typename Row::Element;
  using A = typename Row::Accumulator;
  constexpr int kVector = Row::kVector;
  const auto [row, lane, exists] = ThisRow<Row>(args.rows);
  const T* x = static_cast<const T*>(args.x) + row * args.columns;
  const T* dy = static_cast<const T*>(args.dy) + row * args.columns;
  T* dx = static_cast<T*>(args.dx) + row * args.columns;
  A squares = 0, dot = 0;
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], gradients[kVector], weights[kVector];
    LoadSome(x + i, values);
    LoadSome(dy + i, gradients);
    LoadSome(args.weight + i, weights);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      squares += static_cast<A>(values[j]) * values[j];
      dot += static_cast<A>(gradients[j]) * weights[j] * values[j];
    }
  });
  squares = RowSum<Row>(squares);
  dot = RowSum<Row>(dot);
  if (!exists) return;
  const A r = ReciprocalRoot(squares / static_cast<A>(args.columns) + static_cast<A>(args.epsilon));
  const float scale = static_cast<float>(r), pull = static_cast<float>(dot * r * r * r / static_cast<A>(args.columns));
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], gradients[kVector], weights[kVector], before[kVector];
    LoadSome(x + i, values);
    LoadSome(dy + i, gradients);
    LoadSome(args.weight + i, weights);
    if (args.accumulate) LoadSome(dx + i, before);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      values[j] = scale * gradients[j] * weights[j] - pull * values[j];
      if (args.accumulate) values[j] += before[j];
    }
    StoreSome(dx + i, values);
  });
}

template <typename A>
struct Moments {
  A mean, reciprocal_deviation;
};

// Two passes: rows of large mean and small spread lose nothing.
template <typename Row>
__device__ __forceinline__ Moments<typename Row::Accumulator> MomentsOf(const typename Row::Element* x, int lane,
                                                                        int64_t columns, float epsilon) {
  using A = typename Row::Accumulator;
  A sum = 0, squares = 0;
  ForVectors<Row>(lane, columns, [&](int64_t i) {
    float values[Row::kVector];
    LoadSome(x + i, values);
#pragma unroll
    for (int j = 0; j < Row::kVector; ++j) sum += values[j];
  });
  const A mean = RowSum<Row>(sum) / static_cast<A>(columns);
  ForVectors<Row>(lane, columns, [&](int64_t i) {
    float values[Row::kVector];
    LoadSome(x + i, values);
#pragma unroll
    for (int j = 0; j < Row::kVector; ++j) squares += (values[j] - mean) * (values[j] - mean);
  });
  squares = RowSum<Row>(squares);
  return {mean, ReciprocalRoot(squares / static_cast<A>(columns) + static_cast<A>(epsilon))};
}

template <typename Row>
__global__ void __launch_bounds__(Row::kBlock) LayerNormKernel(NormArgs args) {
  using T = typename Row::Element;
  constexpr int kVector = Row::kVector;
  const auto [row, lane, exists] = ThisRow<Row>(args.rows);
  const T* x = static_cast<const T*>(args.x) + row * args.columns;
  T* y = static_cast<T*>(args.y) + row * args.columns;
  const auto moments = MomentsOf<Row>(x, lane, args.columns, args.epsilon);
  if (!exists) return;
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], weights[kVector], biases[kVector], before[kVector] = {};
    LoadSome(x + i, values);
    LoadSome(args.weight + i, weights);
    LoadSome(args.bias + i, biases);
    if (args.accumulate) LoadSome(y + i, before);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float unit = static_cast<float>((values[j] - moments.mean) * moments.reciprocal_deviation);
      values[j] = before[j] + (unit * weights[j] + biases[j]);
    }
    StoreSome(y + i, values);
  });
}

// With u the normalised row, g = dy * w and r = 1 / deviation: dx = r (g - mean(g) - u mean(g u)).
template <typename Row>
__global__ void __launch_bounds__(Row::kBlock) LayerNormBackwardKernel(NormBackwardArgs args) {
  using T = typename Row::Element;
  using A = typename Row::Accumulator;
  constexpr int kVector = Row::kVector;
  const auto [row, lane, exists] = ThisRow<Row>(args.rows);
  const T* x = static_cast<const T*>(args.x) + row * args.columns;
  const T* dy = static_cast<const T*>(args.dy) + row * args.columns;
  T* dx = static_cast<T*>(args.dx) + row * args.columns;
  const auto moments = MomentsOf<Row>(x, lane, args.columns, args.epsilon);
  A mean = 0, pull = 0;
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], gradients[kVector], weights[kVector];
    LoadSome(x + i, values);
    LoadSome(dy + i, gradients);
    LoadSome(args.weight + i, weights);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const A g = static_cast<A>(gradients[j]) * weights[j];
      mean += g;
      pull += g * ((values[j] - moments.mean) * moments.reciprocal_deviation);
    }
  });
  mean = RowSum<Row>(mean) / static_cast<A>(args.columns);
  pull = RowSum<Row>(pull) / static_cast<A>(args.columns);
  if (!exists) return;
  ForVectors<Row>(lane, args.columns, [&](int64_t i) {
    float values[kVector], gradients[kVector], weights[kVector], before[kVector];
    LoadSome(x + i, values);
    LoadSome(dy + i, gradients);
    LoadSome(args.weight + i, weights);
    if (args.accumulate) LoadSome(dx + i, before);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const A g = static_cast<A>(gradients[j]) * weights[j];
      const A unit = (values[j] - moments.mean) * moments.reciprocal_deviation;
      values[j] = static_cast<float>(moments.reciprocal_deviation * (g - mean - unit * pull));
      if (args.accumulate) values[j] += before[j];
    }
    StoreSome(dx + i, values);
  });
}

// launch(Row()) with the shape that fits rows of `columns`: two or more vectors to a thread where that can be.
template <typename T, typename Fn>
cudaError_t SwitchRow(int64_t columns, bool vectors, Fn&& launch) {
  constexpr int kVector = kVectorSize<T>;
  if (!vectors) return launch(RowShape<T, 256, 1>());
  if (columns <= 16 * kVector) return launch(RowShape<T, 16, kVector>());
  if (columns <= 128 * kVector) return launch(RowShape<T, 32, kVector>());
  return launch(RowShape<T, 256, kVector>());
}

template <typename T>
bool CanVectorizeAll(int64_t columns, std::initializer_list<const void*> pointers) {
  bool can = columns % kVectorSize<T> == 0;
  for (const void* pointer : pointers) can = can && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  return can;
}

template <typename Row, typename Args>
cudaError_t LaunchRows(void (*kernel)(Args), const Args& args, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(args.rows, Row::kRowsOfBlock));
  return Launch(kernel, {.grid = blocks, .block = Row::kBlock, .stream = stream}, args);
}

template <typename T>
bool CanVectorizeNorm(const NormArgs& args) {
  return CanVectorizeAll<T>(args.columns, {args.x, args.weight, args.bias, args.y});
}
template <typename T>
bool CanVectorizeNorm(const NormBackwardArgs& args) {
  return CanVectorizeAll<T>(args.columns, {args.x, args.weight, args.dy, args.dx});
}

// kernel_of(Row()) gives the kernel of a shape.
template <typename Args, typename KernelOf>
cudaError_t LaunchNorm(const Args& args, cudaStream_t stream, KernelOf kernel_of) {
  const auto launch = [&](auto shape) { return LaunchRows<decltype(shape)>(kernel_of(shape), args, stream); };
  return args.type == Type::kF32 ? SwitchRow<float>(args.columns, CanVectorizeNorm<float>(args), launch)
                                 : SwitchRow<bf16>(args.columns, CanVectorizeNorm<bf16>(args), launch);
}

}  // namespace

cudaError_t LaunchRmsNorm(const NormArgs& args, cudaStream_t stream) {
  return LaunchNorm(args, stream, [](auto shape) { return RmsNormKernel<decltype(shape)>; });
}

cudaError_t LaunchLayerNorm(const NormArgs& args, cudaStream_t stream) {
  return LaunchNorm(args, stream, [](auto shape) { return LayerNormKernel<decltype(shape)>; });
}

cudaError_t LaunchRmsNormBackward(const NormBackwardArgs& args, cudaStream_t stream) {
  return LaunchNorm(args, stream, [](auto shape) { return RmsNormBackwardKernel<decltype(shape)>; });
}

cudaError_t LaunchLayerNormBackward(const NormBackwardArgs& args, cudaStream_t stream) {
  return LaunchNorm(args, stream, [](auto shape) { return LayerNormBackwardKernel<decltype(shape)>; });
}

}  // namespace tandem::kernels
