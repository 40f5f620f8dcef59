// The LoRA bypass (Hu et al. 2021): y += scale B (A x), segment by segment, and its gradients. u = A x is computed
// again in backward: rank is small, and the tape need not hold it. A bottleneck has an activation between the two.
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace tandem {
namespace {

int64_t PaddedRank(const LoraSegment& segment) {
  return (segment.a->rows() + kPanel - 1) / kPanel * kPanel;
}

// Rows of `columns` floats, `stride` apart, as rows of `padded` with zeros behind: so they can stand as B of a product.
void PadRows(const float* from, int64_t rows, int64_t columns, int64_t stride, int64_t padded, float* out) {
  for (int64_t r = 0; r < rows; ++r, from += stride, out += padded) {
    std::memcpy(out, from, columns * sizeof(float));
    std::fill(out + columns, out + padded, 0.0f);
  }
}

}  // namespace

void CpuBackend::Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) {
  for (const LoraSegment& segment : segments) {
    const int64_t rank = segment.a->rows();
    const TensorView u = View(Scratch(kScratchLoraU, segment.num_rows * rank), {segment.num_rows, rank});
    Linear(x.Rows(segment.first_row, segment.num_rows), *segment.a, Accumulate::kNo, u);
    if (segment.activation.has_value()) Activate(*segment.activation, u, u);
    Scale(segment.scale, u);
    Linear(u, *segment.b, Accumulate::kYes, y.Rows(segment.first_row, segment.num_rows));
  }
}

// With s the scale: dB += s dy^T u, du = s dy B, dA += du^T x, dx += du A. Sums over rows run from the last row up. An
// activation f stands as f(u) in dB and as f'(u) in du.
void CpuBackend::LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                              const LoraGradients& gradients, const TensorView& dx) {
  const int64_t rows = x.rows(), rank = segment.a->rows(), in = segment.a->columns(), out = segment.b->rows();
  const int64_t padded = PaddedRank(segment);
  float* scratch_u = Scratch(kScratchLoraU, rows * (2 * rank + padded));
  const TensorView u = View(scratch_u, {rows, rank}), raw = View(scratch_u + rows * rank, {rows, rank});
  Linear(x, *segment.a, Accumulate::kNo, u);
  if (segment.activation.has_value()) {
    Copy(u, raw);
    Activate(*segment.activation, u, u);
  }
  Scale(segment.scale, u);
  float* padded_u = raw.f32() + rows * rank;
  PadRows(u.f32(), rows, rank, rank, padded, padded_u);

  const int64_t last = rows - 1;
  ForRange(out, 1, [&](int64_t first, int64_t count, int) {
    cpu::Gemm({.m = count, .n = rank, .k = rows},
              {.data = dy.f32() + last * out + first, .row_stride = 1, .k_stride = -out},
              {.data = padded_u + last * padded, .k_stride = -padded, .panel_stride = kPanel},
              {.data = gradients.db.f32() + first * rank, .row_stride = rank}, true);
  });

  const TensorView du = View(Scratch(kScratchLoraDu, rows * rank), {rows, rank});
  LinearBackwardInput(dy, *segment.b, Accumulate::kNo, du);
  Scale(segment.scale, du);
  if (segment.activation.has_value()) ActivateBackward(*segment.activation, raw, du, du);
  const cpu::GemmA du_transposed = {.data = du.f32() + last * rank, .row_stride = 1, .k_stride = -rank};
  const int64_t whole = in / kPanel * kPanel;  // columns of x that whole panels cover
  ForRange(whole, kPanel, [&](int64_t first, int64_t count, int) {
    cpu::Gemm({.m = rank, .n = count, .k = rows}, du_transposed,
              {.data = x.f32() + last * in + first, .k_stride = -in, .panel_stride = kPanel},
              {.data = gradients.da.f32() + first, .row_stride = in}, true);
  });
  if (whole < in) {
    float* tail = Scratch(kScratchLoraTail, rows * kPanel);
    PadRows(x.f32() + whole, rows, in - whole, in, kPanel, tail);
    cpu::Gemm({.m = rank, .n = in - whole, .k = rows}, du_transposed,
              {.data = tail + last * kPanel, .k_stride = -kPanel, .panel_stride = kPanel},
              {.data = gradients.da.f32() + whole, .row_stride = in}, true);
  }
  LinearBackwardInput(du, *segment.a, Accumulate::kYes, dx);
}

}  // namespace tandem
