#include "backend/cpu/cpu_backend.h"

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

}  // namespace tandem
