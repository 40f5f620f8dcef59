#include "backend/cpu/cpu_backend.h"

namespace tandem {
namespace {

// Rotates the pairs (i, i + half) of every head by the angle whose cos and sin the table's row holds; sign -1 turns
// back.
void Rotate(const float* table_row, int head_dim, int64_t num_heads, float sign, float* row) {
  const int half = head_dim / 2;
  for (int64_t head = 0; head < num_heads; ++head, row += head_dim) {
    for (int i = 0; i < half; ++i) {
      const float cosine = table_row[i], sine = sign * table_row[half + i];
      const float low = row[i], high = row[half + i];
      row[i] = low * cosine - high * sine;
      row[half + i] = high * cosine + low * sine;
    }
  }
}

void RotateAll(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim, float sign,
               const TensorView& x) {
  const int64_t width = x.row_elements();
  for (const SequenceRows& rows : sequences) {
    for (int r = 0; r < rows.num_rows; ++r) {
      const float* table_row = table.f32() + static_cast<int64_t>(rows.first_position + r) * head_dim;
      Rotate(table_row, head_dim, width / head_dim, sign, x.f32() + (rows.first_row + r) * width);
    }
  }
}

}  // namespace

void CpuBackend::Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                      const TensorView& x) {
  RotateAll(sequences, table, head_dim, 1.0f, x);
}

void CpuBackend::RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                              const TensorView& dx) {
  RotateAll(sequences, table, head_dim, -1.0f, dx);
}

}  // namespace tandem
