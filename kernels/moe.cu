#include "moe.h"

#include "common/launch.h"
#include "common/reduce.h"
#include "common/vector.h"
#include "order.h"

namespace tandem::kernels {
namespace {

constexpr int kRowsOfBlock = 4;  // a warp each

struct Softmax {
  float max, sum;
  __device__ __forceinline__ float operator()(float logit) const { return expf(logit - max) / sum; }
};

// Of a row, by a warp.
__device__ __forceinline__ Softmax SoftmaxOf(const float* logits, int n, int lane) {
  float max = -INFINITY, sum = 0;
  for (int i = lane; i < n; i += kWarpSize) max = fmaxf(max, logits[i]);
  max = WarpMax(max);
  for (int i = lane; i < n; i += kWarpSize) sum += expf(logits[i] - max);
  return {max, WarpSum(sum)};
}

// Lane l looks after experts l, l + 32, ...; bit i of `chosen` is its i-th. A NaN loses to everything, so that what is
// chosen is always an expert.
__device__ __forceinline__ uint32_t ChooseExperts(const float* logits, int n, int top_k, int lane) {
  uint32_t chosen = 0;
  for (int round = 0; round < top_k; ++round) {
    uint64_t best = 0;
    for (int i = lane, bit = 0; i < n; i += kWarpSize, ++bit) {
      if (chosen >> bit & 1) continue;
      const float logit = logits[i] != logits[i] ? -INFINITY : logits[i];
      best = Max()(best, BestOrder(logit, static_cast<uint32_t>(i)));
    }
    const uint32_t expert = IndexOfBest(WarpReduce(best, Max()));
    if (expert % kWarpSize == static_cast<uint32_t>(lane)) chosen |= 1u << (expert / kWarpSize);
  }
  return chosen;
}

__global__ void __launch_bounds__(kRowsOfBlock* kWarpSize) RouteKernel(RouteArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  if (row >= args.rows) return;
  const float* logits = args.logits + row * args.num_experts;
  const Softmax softmax = SoftmaxOf(logits, args.num_experts, lane);
  const uint32_t chosen = ChooseExperts(logits, args.num_experts, args.top_k, lane);
  float share = 0;
  for (int i = lane, bit = 0; i < args.num_experts; i += kWarpSize, ++bit) {
    if (chosen >> bit & 1) share += softmax(logits[i]);
  }
  const float divisor = args.normalize ? WarpSum(share) : 1.0f;
  int before = 0;  // chosen ones of lower number
  for (int first = 0, bit = 0; first < args.num_experts; first += kWarpSize, ++bit) {
    const bool mine = chosen >> bit & 1;
    const unsigned group = __ballot_sync(kAllLanes, mine);
    if (mine) {
      const int64_t slot = row * args.top_k + before + __popc(group & ((1u << lane) - 1));
      args.experts[slot] = first + lane;
      args.weights[slot] = softmax(logits[first + lane]) / divisor;
    }
    before += __popc(group);
  }
}

// With p = softmax(logits), S the sum of the chosen p, w = p / S:  dp = (dw - sum(w dw)) / S on the chosen, else 0
// (unnormalized: dp = dw);  dlogits = p (dp - sum(p dp)).
__global__ void __launch_bounds__(kRowsOfBlock* kWarpSize) RouteBackwardKernel(RouteBackwardArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  if (row >= args.rows) return;
  const float* logits = args.logits + row * args.num_experts;
  const int32_t* experts = args.experts + row * args.top_k;
  const float* dweights = args.dweights + row * args.top_k;
  const Softmax softmax = SoftmaxOf(logits, args.num_experts, lane);
  float divisor = 1, mean = 0, sum = 0;
  if (args.normalize) {
    float share = 0, weighted = 0;
    for (int i = 0; i < args.top_k; ++i) {
      const float p = softmax(logits[experts[i]]);
      share += p;
      weighted += p * dweights[i];
    }
    divisor = share;
    mean = weighted / share;
  }
  for (int i = 0; i < args.top_k; ++i) sum += softmax(logits[experts[i]]) * (dweights[i] - mean) / divisor;
  float* dlogits = args.dlogits + row * args.num_experts;
  for (int i = lane; i < args.num_experts; i += kWarpSize) dlogits[i] = softmax(logits[i]) * -sum;
  for (int i = 0; i < args.top_k; ++i) {  // by the lane that has just written there
    const int expert = experts[i];
    if (expert % kWarpSize != lane) continue;
    dlogits[expert] = softmax(logits[expert]) * ((dweights[i] - mean) / divisor - sum);
  }
}

constexpr int kSortWarps = 16, kSortThreads = kSortWarps * kWarpSize;

// Each warp has a stretch of the choices; a choice's place is the number of choices of lower experts and of those of
// its own expert before it.
__global__ void __launch_bounds__(kSortThreads) SortChoicesKernel(SortChoicesArgs args) {
  __shared__ int lower_of[kSortWarps], own_of[kSortWarps];
  const int expert = blockIdx.x, warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const int stretch = CeilDiv(CeilDiv(args.choices, kSortWarps), kWarpSize) * kWarpSize;
  const int begin = warp * stretch, end = min(begin + stretch, args.choices);
  int lower = 0, own = 0;
#pragma unroll 4
  for (int i = begin + lane; i < end; i += kWarpSize) {
    const int chosen = args.experts[i];
    lower += chosen < expert;
    own += chosen == expert;
  }
  lower = WarpSum(lower);
  own = WarpSum(own);
  if (lane == 0) {
    lower_of[warp] = lower;
    own_of[warp] = own;
  }
  __syncthreads();
  int place = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kSortWarps; ++i) {
    place += lower_of[i] + (i < warp ? own_of[i] : 0);
    total += lower_of[i] + own_of[i];
  }
  if (threadIdx.x == 0) args.ends[expert] = total;
  if (own == 0) return;
#pragma unroll 4
  for (int first = begin; first < end; first += kWarpSize) {
    const int choice = first + lane;
    const bool mine = choice < end && args.experts[choice] == expert;
    const unsigned group = __ballot_sync(kAllLanes, mine);
    if (mine) {
      const int own_place = place + __popc(group & ((1u << lane) - 1));
      args.places[choice] = own_place;
      args.order[own_place] = choice;
    }
    place += __popc(group);
  }
}

constexpr int kThreads = 128;

template <typename T, int kVector>
__device__ __forceinline__ void LoadSome(const T* data, float (&values)[kVector]) {
  if constexpr (kVector > 1) {
    Load(data, values);
  } else {
    values[0] = ToFloat(*data);
  }
}
template <typename T, int kVector>
__device__ __forceinline__ void StoreSome(T* data, const float (&values)[kVector]) {
  if constexpr (kVector > 1) {
    Store(data, values);
  } else {
    *data = FromFloat<T>(values[0]);
  }
}

// Blocks of a row stand side by side along y. Rounded once, at the end.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads) CombineChoicesKernel(CombineChoicesArgs args) {
  const int64_t row = blockIdx.x, first_choice = row * args.top_k;
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y) + row * args.columns;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * kThreads * kVector;
  for (int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVector; i < args.columns;
       i += stride) {
    float sum[kVector];
    LoadSome(y + i, sum);
#pragma unroll 4
    for (int choice = 0; choice < args.top_k; ++choice) {
      float values[kVector];
      LoadSome(x + args.places[first_choice + choice] * args.columns + i, values);
      const float factor = args.factors == nullptr ? 1.0f : args.factors[first_choice + choice];
#pragma unroll
      for (int j = 0; j < kVector; ++j) sum[j] += factor * values[j];
    }
    StoreSome(y + i, sum);
  }
}

// A block to a row.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads) WeighChoicesBackwardKernel(WeighChoicesBackwardArgs args) {
  __shared__ float scratch[kThreads / kWarpSize];
  const int choice = args.order[blockIdx.x];
  const float weight = args.weights[choice];
  const T* x = static_cast<const T*>(args.x) + blockIdx.x * args.columns;
  T* dx = static_cast<T*>(args.dx) + blockIdx.x * args.columns;
  float dot = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x * kVector; i < args.columns; i += kThreads * kVector) {
    float values[kVector], gradients[kVector];
    LoadSome(x + i, values);
    LoadSome(dx + i, gradients);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      dot += values[j] * gradients[j];
      gradients[j] *= weight;
    }
    StoreSome(dx + i, gradients);
  }
  dot = BlockSum<kThreads>(dot, scratch);
  if (threadIdx.x == 0) args.dweights[choice] = dot;
}

// launch(T(), constant of the elements at a time) for rows that begin at x and y.
template <typename Fn>
cudaError_t SwitchRows(Type type, const void* x, const void* y, int64_t columns, Fn&& launch) {
  const auto vectors = [&](auto element) {
    using T = decltype(element);
    return CanVectorize(static_cast<const T*>(x), columns) && CanVectorize(static_cast<const T*>(y), columns);
  };
  using One = std::integral_constant<int, 1>;
  if (type == Type::kF32) {
    return vectors(float()) ? launch(float(), std::integral_constant<int, 4>()) : launch(float(), One());
  }
  return vectors(bf16()) ? launch(bf16(), std::integral_constant<int, 8>()) : launch(bf16(), One());
}

// Blocks of a row stand side by side along y: two rounds each.
dim3 GridOf(int64_t rows, int64_t columns, int vector) {
  const auto across = CeilDiv<int64_t>(columns, 2 * kThreads * vector);
  return {static_cast<unsigned>(rows), static_cast<unsigned>(across)};
}

}  // namespace

cudaError_t LaunchRoute(const RouteArgs& args, cudaStream_t stream) {
  if (args.num_experts > kMaxExperts || args.top_k > args.num_experts) return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(args.rows, kRowsOfBlock));
  return Launch(RouteKernel, {.grid = blocks, .block = kRowsOfBlock * kWarpSize, .stream = stream}, args);
}

cudaError_t LaunchRouteBackward(const RouteBackwardArgs& args, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(args.rows, kRowsOfBlock));
  return Launch(RouteBackwardKernel, {.grid = blocks, .block = kRowsOfBlock * kWarpSize, .stream = stream}, args);
}

cudaError_t LaunchSortChoices(const SortChoicesArgs& args, cudaStream_t stream) {
  return Launch(SortChoicesKernel,
                {.grid = static_cast<unsigned>(args.num_experts), .block = kSortThreads, .stream = stream}, args);
}

cudaError_t LaunchCombineChoices(const CombineChoicesArgs& args, cudaStream_t stream) {
  return SwitchRows(args.type, args.x, args.y, args.columns, [&](auto element, auto vector) {
    return Launch(CombineChoicesKernel<decltype(element), vector>,
                  {.grid = GridOf(args.rows, args.columns, vector), .block = kThreads, .stream = stream}, args);
  });
}

cudaError_t LaunchWeighChoicesBackward(const WeighChoicesBackwardArgs& args, cudaStream_t stream) {
  return SwitchRows(args.type, args.x, args.dx, args.columns, [&](auto element, auto vector) {
    return Launch(WeighChoicesBackwardKernel<decltype(element), vector>,
                  {.grid = static_cast<unsigned>(args.rows), .block = kThreads, .stream = stream}, args);
  });
}

}  // namespace tandem::kernels
