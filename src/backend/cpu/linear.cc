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

int64_t RoundUp(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
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

// On all threads, for all.
const uint16_t* CpuBackend::Rounded(const TensorView& x) {
  constexpr int64_t kWorthAThread = 16384;  // elements: a few microseconds
  const int64_t rows = x.rows(), pairs = cpu::DotPairs(x.shape[1]);
  auto* rounded = reinterpret_cast<uint16_t*>(Scratch(kScratchRounded, rows * pairs));
  const int64_t parts = std::clamp<int64_t>(2 * rows * pairs / kWorthAThread, 1, pool_.usable_threads());
  const int64_t size = RoundUp((pairs + parts - 1) / parts, 16);
  pool_.For(parts, [&](int64_t part, int) {
    const int64_t first = std::min(part * size, pairs), count = std::min(size, pairs - first);
    cpu::PackDotRows(x.f32(), rows, x.shape[1], first, count, rounded);
  });
  return rounded;
}

void CpuBackend::LinearDot(const TensorView& x, const PackedMatrix& w, Accumulate mode, const TensorView& y) {
  const int64_t rows = x.rows(), out = w.rows(), in = w.columns(), pairs = cpu::DotPairs(in);
  const auto* panels = static_cast<const uint16_t*>(w.data());
  // One tile of rows: every thread rounds it for itself. That takes less than to wait for each other and to get what
  // another core wrote.
  const bool few = rows <= cpu::kDotTileRows;
  const int64_t own_elements = RoundUp(rows * pairs, 16);  // floats' worth
  float* own = few ? Scratch(kScratchRounded, own_elements * pool_.num_threads()) : nullptr;
  std::vector<char> has_own(pool_.num_threads());
  const uint16_t* shared = few ? nullptr : Rounded(x);
  // Nobody has fetched the beginning of a piece ahead; where rows are few that shows: two pieces a thread instead of
  // four.
  const int64_t pieces = 2 * pool_.usable_threads();
  const int64_t grain = few ? (w.num_panels() + pieces - 1) / pieces : 1;
  ForRange(w.num_panels(), RoundUp(grain, cpu::kDotGroup), [&](int64_t first, int64_t count, int thread) {
    const uint16_t* a = shared;
    if (few) {
      auto* rounded = reinterpret_cast<uint16_t*>(own + thread * own_elements);
      if (!has_own[thread]) cpu::PackDotRows(x.f32(), rows, in, 0, pairs, rounded);
      has_own[thread] = true;
      a = rounded;
    }
    const int64_t n = first * cpu::kDotPanel;
    cpu::DotProduct({.m = rows, .n = std::min(count * cpu::kDotPanel, out - n), .pairs = pairs},
                    {.a = a,
                     .a_pairs = pairs,
                     .b = panels + first * w.panel_elements(),
                     .panel_stride = w.panel_elements(),
                     .c = y.f32() + n,
                     .c_row = out,
                     .accumulate = mode == Accumulate::kYes,
                     .streamed = true});
  });
}

// dX = dY W reads the same panels: block by block they are transposed into scratch that stays in L2 while all rows use
// it. The chains run over the outputs in order, block after block.
void CpuBackend::LinearBackwardInputDot(const TensorView& dy, const PackedMatrix& w, Accumulate mode,
                                        const TensorView& dx) {
  constexpr int64_t kBlockPanels = 32;                           // 512 outputs, all k pairs of a block
  constexpr int64_t kColumns = cpu::kDotGroup * cpu::kDotPanel;  // of dX: with those 64 KiB transposed
  constexpr int64_t kPanelPairs = cpu::kDotPanel / 2;            // k pairs of the block that a panel of W becomes
  constexpr int64_t kStride = kBlockPanels * kPanelPairs * cpu::kDotPairElements;
  const int64_t out = w.rows(), in = w.columns(), panel_bytes = w.panel_elements() * sizeof(uint16_t);
  const uint16_t* rounded = Rounded(dy);
  const auto* panels = static_cast<const uint16_t*>(w.data());
  ForRange((in + kColumns - 1) / kColumns, 1, [&](int64_t first, int64_t count, int) {
    alignas(64) uint16_t block[cpu::kDotGroup * kStride];
    for (int64_t k = first * kColumns; k < std::min((first + count) * kColumns, in); k += kColumns) {
      for (int64_t p = 0; p < w.num_panels(); p += kBlockPanels) {
        const int64_t count_panels = std::min(kBlockPanels, w.num_panels() - p), n = p * cpu::kDotPanel;
        for (int64_t i = 0; i < count_panels; ++i) {
          cpu::TransposeDotBlock(panels + (p + i) * w.panel_elements(), cpu::DotPairs(in), k,
                                 block + i * kPanelPairs * cpu::kDotPairElements, kStride);
        }
        // The next block is 2 KiB of each of its panels of W: a quarter of them for each panel of this call.
        const bool last = p + kBlockPanels >= w.num_panels();
        const uint16_t* next = panels + (last ? 0 : p + kBlockPanels) * w.panel_elements() +
                               (last ? k + kColumns : k) / 2 * cpu::kDotPairElements;
        cpu::DotProduct({.m = dy.rows(),
                         .n = std::min(kColumns, in - k),
                         .pairs = cpu::DotPairs(std::min(count_panels * cpu::kDotPanel, out - n))},
                        {.a = rounded,
                         .a_pairs = cpu::DotPairs(out),
                         .first_pair = n / 2,
                         .b = block,
                         .panel_stride = kStride,
                         .c = dx.f32() + k,
                         .c_row = in,
                         .accumulate = mode == Accumulate::kYes || p > 0,
                         .fetch = {.data = reinterpret_cast<const char*>(next),
                                   .panel_bytes = kBlockPanels / cpu::kDotGroup * panel_bytes,
                                   .piece_bytes = panel_bytes}});
      }
    }
  });
}

}  // namespace tandem
