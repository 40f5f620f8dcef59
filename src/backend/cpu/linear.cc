#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/dot_product.h"

namespace tandem {
namespace {

// Sixteen columns of W as rows for the backward product: block[n][lane] = W[first_n + n][first_k + lane], from panels.
template <typename T>
void Transpose(const PackedMatrix& w, int64_t first_n, int64_t count, int64_t first_k, float* block) {
  const int64_t lanes = std::min<int64_t>(kPanel, w.columns() - first_k);
  const T* data = static_cast<const T*>(w.data());
  for (int64_t n = 0; n < count; n += kPanel) {
    const T* from = data + (first_n + n) / kPanel * w.panel_elements() + first_k * kPanel;
    for (int64_t k = 0; k < lanes; ++k) {
      for (int64_t i = 0; i < kPanel; ++i) {
        if constexpr (sizeof(T) == 2) {
          block[(n + i) * kPanel + k] = Bf16ToF32(from[k * kPanel + i]);
        } else {
          block[(n + i) * kPanel + k] = from[k * kPanel + i];
        }
      }
    }
  }
}

}  // namespace

void CpuBackend::Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) {
  const auto& packed = static_cast<const PackedMatrix&>(w);
  if (packed.layout() == PackedMatrix::Layout::kDot) return LinearDot(x, packed, mode, y);
  const int64_t out = w.rows(), in = w.columns();
  ForRange(out, 4 * kPanel, [&](int64_t first, int64_t count, int) {
    const char* panels =
        static_cast<const char*>(packed.data()) + first / kPanel * packed.panel_elements() * ByteSize(w.dtype());
    cpu::Gemm({.m = x.rows(), .n = count, .k = in}, {.data = x.f32(), .row_stride = in, .k_stride = 1},
              {.data = panels, .dtype = w.dtype(), .k_stride = kPanel, .panel_stride = packed.panel_elements()},
              {.data = y.f32() + first, .row_stride = out}, mode == Accumulate::kYes);
  });
}

void CpuBackend::LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) {
  constexpr int64_t kBlock = 256;  // outputs at a time: a 16 KiB block, in L1
  const auto& packed = static_cast<const PackedMatrix&>(w);
  if (packed.layout() == PackedMatrix::Layout::kDot) return LinearBackwardInputDot(dy, packed, mode, dx);
  const int64_t out = w.rows(), in = w.columns();
  ForRange(in, kPanel, [&](int64_t first, int64_t count, int) {
    alignas(64) float block[kBlock * kPanel] = {};
    for (int64_t k = first; k < first + count; k += kPanel) {
      for (int64_t n = 0; n < out; n += kBlock) {
        const int64_t outputs = std::min(kBlock, out - n);
        if (w.dtype() == DType::kBf16) {
          Transpose<uint16_t>(packed, n, outputs, k, block);
        } else {
          Transpose<float>(packed, n, outputs, k, block);
        }
        cpu::Gemm({.m = dy.rows(), .n = std::min<int64_t>(kPanel, in - k), .k = outputs},
                  {.data = dy.f32() + n, .row_stride = out, .k_stride = 1}, {.data = block, .k_stride = kPanel},
                  {.data = dx.f32() + k, .row_stride = in}, mode == Accumulate::kYes || n > 0);
      }
    }
  });
}

const uint16_t* CpuBackend::Rounded(const TensorView& x) {
  constexpr int64_t kGrainElements = 16384;  // a few microseconds
  const int64_t k = x.shape[1], stride = cpu::DotRowStride(k);
  auto* rounded = reinterpret_cast<uint16_t*>(Scratch(kScratchRounded, (x.rows() * stride + 1) / 2));
  ForRange(x.rows(), std::max<int64_t>(1, kGrainElements / std::max<int64_t>(k, 1)),
           [&](int64_t first, int64_t count, int) {
             cpu::RoundRows(x.f32() + first * k, count, k, rounded + first * stride);
           });
  return rounded;
}

void CpuBackend::LinearDot(const TensorView& x, const PackedMatrix& w, Accumulate mode, const TensorView& y) {
  const int64_t out = w.rows(), in = w.columns();
  const uint16_t* rounded = Rounded(x);
  const auto* panels = static_cast<const uint16_t*>(w.data());
  // Nobody has fetched the first block of a piece ahead; where rows are few that shows: two pieces a thread instead of
  // four.
  constexpr int64_t kFewRows = 32;
  const int64_t pieces = 2 * pool_.usable_threads();
  const int64_t grain = x.rows() <= kFewRows ? (w.num_panels() + pieces - 1) / pieces : 1;
  ForRange(w.num_panels(), grain, [&](int64_t first, int64_t count, int) {
    for (int64_t p = first; p < first + count; ++p) {
      const int64_t n = p * cpu::kDotPanel;
      cpu::DotPanelProduct({.m = x.rows(), .columns = std::min(cpu::kDotPanel, out - n), .pairs = cpu::DotPairs(in)},
                           {.a = rounded,
                            .a_row = cpu::DotRowStride(in),
                            .b = panels + p * w.panel_elements(),
                            .c = y.f32() + n,
                            .c_row = out,
                            .accumulate = mode == Accumulate::kYes,
                            .streamed = true});
    }
  });
}

// dX = dY W reads the same panels: block by block they are transposed into scratch that stays in L2 while all rows use
// it. The chains run over the outputs in order, block after block.
void CpuBackend::LinearBackwardInputDot(const TensorView& dy, const PackedMatrix& w, Accumulate mode,
                                        const TensorView& dx) {
  constexpr int64_t kPanelsPerBlock = 8;  // 512 outputs: 64 KiB transposed
  const int64_t out = w.rows(), in = w.columns(), stride = cpu::DotRowStride(out);
  const uint16_t* rounded = Rounded(dy);
  const auto* panels = static_cast<const uint16_t*>(w.data());
  ForRange((in + cpu::kDotPanel - 1) / cpu::kDotPanel, 1, [&](int64_t first, int64_t count, int) {
    alignas(64) uint16_t block[kPanelsPerBlock * cpu::kDotPanel * cpu::kDotPanel];
    for (int64_t column = first; column < first + count; ++column) {
      const int64_t k = column * cpu::kDotPanel;
      for (int64_t p = 0; p < w.num_panels(); p += kPanelsPerBlock) {
        const int64_t blocks = std::min(kPanelsPerBlock, w.num_panels() - p), n = p * cpu::kDotPanel;
        for (int64_t i = 0; i < blocks; ++i) {
          cpu::TransposeDotBlock(panels + (p + i) * w.panel_elements(), cpu::DotPairs(in), k,
                                 block + i * cpu::kDotPanel * cpu::kDotPanel);
        }
        // The next block is 8 KiB of each of its panels; the other half of what is fetched belongs to the next column.
        const uint16_t* next[kPanelsPerBlock];
        const bool last = p + kPanelsPerBlock >= w.num_panels();
        const int64_t next_p = last ? 0 : p + kPanelsPerBlock, next_k = last ? k + cpu::kDotPanel : k;
        const int64_t num_next = next_k < in ? std::min(kPanelsPerBlock, w.num_panels() - next_p) : 0;
        for (int64_t i = 0; i < num_next; ++i) {
          next[i] = panels + (next_p + i) * w.panel_elements() + next_k / 2 * cpu::kDotPairElements;
        }
        cpu::DotPanelProduct({.m = dy.rows(),
                              .columns = std::min(cpu::kDotPanel, in - k),
                              .pairs = cpu::DotPairs(std::min(blocks * cpu::kDotPanel, out - n))},
                             {.a = rounded + n,
                              .a_row = stride,
                              .b = block,
                              .c = dx.f32() + k,
                              .c_row = in,
                              .accumulate = mode == Accumulate::kYes || p > 0,
                              .next = next,
                              .num_next = num_next});
      }
    }
  });
}

}  // namespace tandem
