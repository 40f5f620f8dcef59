#include "backend/cpu/packed_matrix.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/dot_product.h"
#include "base/check.h"

namespace tandem {
namespace {

// Rows [first, first + 16) of weight, transposed: [16, in] to [in, 16].
template <typename T>
void PackWide(const T* weight, int64_t rows, int64_t columns, int64_t first, T* packed) {
  const int64_t valid = std::min<int64_t>(kPanel, rows - first);
  if (valid < kPanel) std::fill(packed, packed + columns * kPanel, T{});
  for (int64_t lane = 0; lane < valid; ++lane) {
    const T* row = weight + (first + lane) * columns;
    for (int64_t k = 0; k < columns; ++k) packed[k * kPanel + lane] = row[k];
  }
}

// Sums of squares, row by row, of a panel [in / kDepth, kRows, kDepth]; in f32, folded into doubles every 256 steps.
template <int kRows, int kDepth, typename T>
void PanelSquares(const T* panel, int64_t steps, double (&totals)[kRows]) {
  constexpr int64_t kFold = 256;
  for (int64_t begin = 0; begin < steps; begin += kFold) {
    float sums[kRows] = {};
    for (int64_t k = begin; k < std::min(steps, begin + kFold); ++k) {
      const T* at = panel + k * kRows * kDepth;
      for (int i = 0; i < kRows * kDepth; ++i) {
        float value;
        if constexpr (sizeof(T) == 2) {
          value = Bf16ToF32(at[i]);
        } else {
          value = at[i];
        }
        sums[i / kDepth] += value * value;
      }
    }
    for (int i = 0; i < kRows; ++i) totals[i] += sums[i];
  }
}

DType PackedType(DType dtype) {
  return dtype == DType::kBf16 ? DType::kBf16 : DType::kF32;
}

static_assert(kPanel == cpu::kDotPanel);

}  // namespace

PackedMatrix::PackedMatrix(const TensorView& weight, Layout layout)
    : rows_(weight.shape[0]), columns_(weight.shape[1]), layout_(layout) {
  CHECK_EQ(weight.shape.rank(), 2);
  CHECK(layout == Layout::kWide || weight.dtype == DType::kBf16) << Name(weight.dtype);
  storage_ = Tensor::Empty(PackedType(weight.dtype), {num_panels(), panel_elements()});
}

int64_t PackedMatrix::panel_elements() const {
  return layout_ == Layout::kDot ? cpu::DotPairs(columns_) * cpu::kDotPairElements : columns_ * kPanel;
}

void PackedMatrix::Pack(const TensorView& weight, int64_t first, int64_t count) {
  CHECK(weight.shape == Shape({rows_, columns_})) << weight.shape.ToString();
  CHECK(PackedType(weight.dtype) == dtype()) << "f32 data cannot replace " << Name(dtype()) << " panels";
  std::vector<float> widened;
  for (int64_t panel = first; panel < first + count; ++panel) {
    char* packed = static_cast<char*>(storage_.data()) + panel * panel_elements() * ByteSize(dtype());
    const int64_t row = panel * kPanel;
    if (layout_ == Layout::kDot) {
      cpu::PackDotPanel(static_cast<const uint16_t*>(weight.data), rows_, columns_, row,
                        reinterpret_cast<uint16_t*>(packed));
    } else if (weight.dtype == DType::kBf16) {
      PackWide(static_cast<const uint16_t*>(weight.data), rows_, columns_, row, reinterpret_cast<uint16_t*>(packed));
    } else if (weight.dtype == DType::kF32) {
      PackWide(weight.f32(), rows_, columns_, row, reinterpret_cast<float*>(packed));
    } else {
      const TensorView part = weight.Rows(row, std::min<int64_t>(kPanel, rows_ - row));
      widened.resize(static_cast<size_t>(part.shape.num_elements()));
      ConvertToF32(part, widened.data());
      PackWide(widened.data(), part.rows(), columns_, 0, reinterpret_cast<float*>(packed));
    }
  }
}

void PackedMatrix::RowSquares(int64_t panel, float* squares) const {
  double totals[kPanel] = {};
  const int64_t at = panel * panel_elements();
  if (layout_ == Layout::kDot) {
    PanelSquares<kPanel, 2>(static_cast<const uint16_t*>(data()) + at, cpu::DotPairs(columns_), totals);
  } else if (dtype() == DType::kBf16) {
    PanelSquares<kPanel, 1>(static_cast<const uint16_t*>(data()) + at, columns_, totals);
  } else {
    PanelSquares<kPanel, 1>(static_cast<const float*>(data()) + at, columns_, totals);
  }
  const int64_t first = panel * kPanel, count = std::min<int64_t>(kPanel, rows_ - first);
  for (int64_t i = 0; i < count; ++i) squares[first + i] = static_cast<float>(totals[i]);
}

}  // namespace tandem
