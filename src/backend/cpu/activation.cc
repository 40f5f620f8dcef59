#include "backend/cpu/activation_kernels.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

constexpr int64_t kGrain = 4096;  // elements: a loop below this is not worth another thread

}  // namespace

void CpuBackend::Activate(Activation kind, const TensorView& x, const TensorView& y) {
  ForRange(y.shape.num_elements(), kGrain,
           [&](int64_t first, int64_t count, int) { cpu::Activate(kind, x.f32() + first, count, y.f32() + first); });
}

void CpuBackend::ActivateBackward(Activation kind, const TensorView& x, const TensorView& dy, const TensorView& dx) {
  ForRange(dx.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    cpu::ActivateBackward(kind, x.f32() + first, dy.f32() + first, count, dx.f32() + first);
  });
}

void CpuBackend::ActivateMul(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) {
  ForRange(y.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    cpu::ActivateMul(kind, gate.f32() + first, up.f32() + first, count, y.f32() + first);
  });
}

void CpuBackend::ActivateMulBackward(Activation kind, const TensorView& gate, const TensorView& up,
                                     const TensorView& dy, const TensorView& dgate, const TensorView& dup) {
  ForRange(dy.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    cpu::ActivateMulBackward(kind, gate.f32() + first, up.f32() + first, dy.f32() + first, count, dgate.f32() + first,
                             dup.f32() + first);
  });
}

void CpuBackend::Add(const TensorView& x, const TensorView& y) {
  ForRange(y.shape.num_elements(), kGrain,
           [&](int64_t first, int64_t count, int) { cpu::Add(x.f32() + first, count, y.f32() + first); });
}

void CpuBackend::AddBias(const TensorView& bias, const TensorView& y) {
  const int64_t width = y.shape[1];
  ForRange(y.rows(), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) cpu::Add(bias.f32(), width, y.f32() + r * width);
  });
}

void CpuBackend::Scale(float factor, const TensorView& x) {
  ForRange(x.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    for (float* at = x.f32() + first; at < x.f32() + first + count; ++at) *at *= factor;
  });
}

void CpuBackend::SoftCap(float cap, const TensorView& x) {
  ForRange(x.shape.num_elements(), kGrain,
           [&](int64_t first, int64_t count, int) { cpu::SoftCap(cap, count, x.f32() + first); });
}

}  // namespace tandem
