#include "backend/cpu/cpu_backend.h"

namespace tandem {

void CpuBackend::Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) {
  const auto& packed = static_cast<const PackedMatrix&>(table);
  const int64_t hidden = table.columns();
  for (size_t row = 0; row < ids.size(); ++row) {
    const int64_t offset = ids[row] / kPanel * packed.panel_elements() + ids[row] % kPanel;
    float* out = x.f32() + row * hidden;
    if (table.dtype() == DType::kBf16) {
      const uint16_t* from = static_cast<const uint16_t*>(packed.data()) + offset;
      for (int64_t i = 0; i < hidden; ++i) out[i] = Bf16ToF32(from[i * kPanel]);
    } else {
      const float* from = static_cast<const float*>(packed.data()) + offset;
      for (int64_t i = 0; i < hidden; ++i) out[i] = from[i * kPanel];
    }
  }
}

}  // namespace tandem
