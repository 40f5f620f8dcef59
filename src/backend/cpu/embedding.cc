#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/dot_product.h"

namespace tandem {
namespace {

// Row `id` of a packed table: it stands in one panel, its elements a panel's width apart.
void UnpackRow(const PackedMatrix& table, int64_t id, float* out) {
  const int64_t hidden = table.columns(), lane = id % kPanel;
  const int64_t panel = id / kPanel * table.panel_elements();
  if (table.layout() == PackedMatrix::Layout::kDot) {
    const uint16_t* from = static_cast<const uint16_t*>(table.data()) + panel + 2 * lane;
    for (int64_t i = 0; i < hidden; ++i) out[i] = Bf16ToF32(from[i / 2 * cpu::kDotPairElements + i % 2]);
  } else if (table.dtype() == DType::kBf16) {
    const uint16_t* from = static_cast<const uint16_t*>(table.data()) + panel + lane;
    for (int64_t i = 0; i < hidden; ++i) out[i] = Bf16ToF32(from[i * kPanel]);
  } else {
    const float* from = static_cast<const float*>(table.data()) + panel + lane;
    for (int64_t i = 0; i < hidden; ++i) out[i] = from[i * kPanel];
  }
}

}  // namespace

void CpuBackend::Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) {
  const int64_t hidden = table.columns();
  ForRange(static_cast<int64_t>(ids.size()), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t row = first; row < first + count; ++row) {
      UnpackRow(static_cast<const PackedMatrix&>(table), ids[row], x.f32() + row * hidden);
    }
  });
}

void CpuBackend::GatherRows(const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  const int64_t width = x.shape[1];
  ForRange(static_cast<int64_t>(rows.size()), 4, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      std::memcpy(y.f32() + i * width, x.f32() + rows[i] * width, width * sizeof(float));
    }
  });
}

}  // namespace tandem
