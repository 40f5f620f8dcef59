#include "backend/cpu/packed_matrix.h"

#include <vector>

#include "base/check.h"

namespace tandem {
namespace {

// Panel by panel, transposing [16, in] to [in, 16].
template <typename T>
void Pack(const T* weight, int64_t rows, int64_t columns, T* packed) {
  for (int64_t first = 0; first < rows; first += kPanel, packed += columns * kPanel) {
    const int64_t valid = std::min<int64_t>(kPanel, rows - first);
    for (int64_t lane = 0; lane < valid; ++lane) {
      const T* row = weight + (first + lane) * columns;
      for (int64_t k = 0; k < columns; ++k) packed[k * kPanel + lane] = row[k];
    }
  }
}

DType PackedType(DType dtype) {
  return dtype == DType::kBf16 ? DType::kBf16 : DType::kF32;
}

}  // namespace

PackedMatrix::PackedMatrix(const TensorView& weight)
    : rows_(weight.shape[0]),
      columns_(weight.shape[1]),
      storage_(Tensor::Zeros(PackedType(weight.dtype), {(rows_ + kPanel - 1) / kPanel, columns_, kPanel})) {
  CHECK_EQ(weight.shape.rank(), 2);
  Update(weight);
}

void PackedMatrix::Update(const TensorView& weight) {
  CHECK(weight.shape == Shape({rows_, columns_})) << weight.shape.ToString();
  CHECK(PackedType(weight.dtype) == dtype()) << "f32 data cannot replace " << Name(dtype()) << " panels";
  void* packed = storage_.view().data;
  if (weight.dtype == DType::kBf16) {
    Pack(static_cast<const uint16_t*>(weight.data), rows_, columns_, static_cast<uint16_t*>(packed));
  } else if (weight.dtype == DType::kF32) {
    Pack(static_cast<const float*>(weight.data), rows_, columns_, static_cast<float*>(packed));
  } else {
    std::vector<float> widened(static_cast<size_t>(weight.shape.num_elements()));
    ConvertToF32(weight, widened.data());
    Pack(widened.data(), rows_, columns_, static_cast<float*>(packed));
  }
}

}  // namespace tandem
