#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

constexpr int64_t kGrain = 4096;  // elements: a loop below this is not worth another thread

}  // namespace

void CpuBackend::SiluMul(const TensorView& gate, const TensorView& up, const TensorView& y) {
  ForRange(y.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    cpu::SiluMul(gate.f32() + first, up.f32() + first, count, y.f32() + first);
  });
}

void CpuBackend::SiluMulBackward(const TensorView& gate, const TensorView& up, const TensorView& dy,
                                 const TensorView& dgate, const TensorView& dup) {
  ForRange(dy.shape.num_elements(), kGrain, [&](int64_t first, int64_t count, int) {
    cpu::SiluMulBackward(gate.f32() + first, up.f32() + first, dy.f32() + first, count, dgate.f32() + first,
                         dup.f32() + first);
  });
}

void CpuBackend::Add(const TensorView& x, const TensorView& y) {
  ForRange(y.shape.num_elements(), kGrain,
           [&](int64_t first, int64_t count, int) { cpu::Add(x.f32() + first, count, y.f32() + first); });
}

}  // namespace tandem
