#include "model/rope_table.h"

#include <cmath>

namespace tandem {

Tensor MakeRopeTable(int positions, int head_dim, double theta) {
  Tensor table = Tensor::Empty(DType::kF32, {positions, head_dim});
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float frequency = static_cast<float>(1.0 / std::pow(theta, 2.0 * i / head_dim));
    for (int p = 0; p < positions; ++p) {
      const float angle = static_cast<float>(p) * frequency;
      float* row = table.f32() + static_cast<int64_t>(p) * head_dim;
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return table;
}

}  // namespace tandem
