#include "activation.h"

#include "activation_point.h"
#include "elementwise.h"

namespace tandem::kernels {
namespace {

// launch(A()) for the activation's A.
template <typename Fn>
cudaError_t SwitchActivation(Activation activation, Fn&& launch) {
  switch (activation) {
    case Activation::kSilu:
      return launch(Silu());
    case Activation::kGeluTanh:
      return launch(GeluTanh());
    case Activation::kGelu:
      return launch(Gelu());
    case Activation::kRelu:
      break;
  }
  return launch(Relu());
}

template <typename Fn>
cudaError_t SwitchType(Type type, Fn&& launch) {
  return type == Type::kF32 ? launch(float()) : launch(bf16());
}

template <typename A>
struct Value {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = A()(in[0]).value; }
};
template <typename A>
struct GatedValue {  // of x, up
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = A()(in[0]).value * in[1]; }
};
template <typename A>
struct Gradient {  // of x, dy
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[1] * A()(in[0]).slope; }
};
template <typename A>
struct GatedGradient {  // of x, up, dy: dx, dup
  __device__ void operator()(const float (&in)[3], float (&out)[2]) const {
    const Point point = A()(in[0]);
    out[0] = in[2] * in[1] * point.slope;
    out[1] = in[2] * point.value;
  }
};

struct AddFn {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[0] + in[1]; }
};
struct ScaleFn {
  float factor;
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = in[0] * factor; }
};
struct SoftCapFn {
  float cap;
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = cap * tanhf(in[0] / cap); }
};

// Blocks of a row stand side by side along y of the grid.
template <typename T>
__global__ void __launch_bounds__(256) AddBiasKernel(AddBiasArgs args) {
  T* y = static_cast<T*>(args.y) + static_cast<int64_t>(blockIdx.x) * args.columns;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; i < args.columns; i += stride) {
    y[i] = FromFloat<T>(ToFloat(y[i]) + args.bias[i]);
  }
}

}  // namespace

cudaError_t LaunchActivate(const ActivateArgs& args, cudaStream_t stream) {
  return SwitchType(args.type, [&](auto element) {
    using T = decltype(element);
    const T *x = static_cast<const T*>(args.x), *up = static_cast<const T*>(args.up);
    T* y = static_cast<T*>(args.y);
    return SwitchActivation(args.activation, [&](auto activation) {
      using A = decltype(activation);
      return up == nullptr ? LaunchElementwise<T, 1, 1>({{x}, {y}}, args.n, Value<A>(), stream)
                           : LaunchElementwise<T, 2, 1>({{x, up}, {y}}, args.n, GatedValue<A>(), stream);
    });
  });
}

cudaError_t LaunchActivateBackward(const ActivateBackwardArgs& args, cudaStream_t stream) {
  return SwitchType(args.type, [&](auto element) {
    using T = decltype(element);
    const T *x = static_cast<const T*>(args.x), *up = static_cast<const T*>(args.up);
    const T* dy = static_cast<const T*>(args.dy);
    T *dx = static_cast<T*>(args.dx), *dup = static_cast<T*>(args.dup);
    return SwitchActivation(args.activation, [&](auto activation) {
      using A = decltype(activation);
      return up == nullptr ? LaunchElementwise<T, 2, 1>({{x, dy}, {dx}}, args.n, Gradient<A>(), stream)
                           : LaunchElementwise<T, 3, 2>({{x, up, dy}, {dx, dup}}, args.n, GatedGradient<A>(), stream);
    });
  });
}

cudaError_t LaunchAdd(Type type, const void* x, void* y, int64_t n, cudaStream_t stream) {
  return SwitchType(type, [&](auto element) {
    using T = decltype(element);
    T* to = static_cast<T*>(y);
    return LaunchElementwise<T, 2, 1>({{to, static_cast<const T*>(x)}, {to}}, n, AddFn(), stream);
  });
}

cudaError_t LaunchScale(Type type, float factor, void* x, int64_t n, cudaStream_t stream) {
  return SwitchType(type, [&](auto element) {
    using T = decltype(element);
    T* to = static_cast<T*>(x);
    return LaunchElementwise<T, 1, 1>({{to}, {to}}, n, ScaleFn{factor}, stream);
  });
}

cudaError_t LaunchSoftCap(Type type, float cap, void* x, int64_t n, cudaStream_t stream) {
  return SwitchType(type, [&](auto element) {
    using T = decltype(element);
    T* to = static_cast<T*>(x);
    return LaunchElementwise<T, 1, 1>({{to}, {to}}, n, SoftCapFn{cap}, stream);
  });
}

cudaError_t LaunchAddBias(const AddBiasArgs& args, cudaStream_t stream) {
  return SwitchType(args.type, [&](auto element) {
    constexpr unsigned kThreads = 256;
    const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>(CeilDiv<int64_t>(args.columns, 1024)));
    return Launch(AddBiasKernel<decltype(element)>, {.grid = grid, .block = kThreads, .stream = stream}, args);
  });
}

}  // namespace tandem::kernels
