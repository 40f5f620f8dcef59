#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/vector_ops.h"

namespace tandem {
namespace {

constexpr int64_t kChunkRows = 64;  // logits that exist at a time: [64, vocab]; fewer leave dX slow

// logits become the gradient of -log softmax(capped logits)[label] with respect to them; returns that loss. slopes
// [vocab] is scratch where there is a cap: d(cap tanh(x / cap)) / dx = 1 - (capped / cap)^2.
double CrossEntropyRow(int32_t label, int64_t vocab, float cap, float* slopes, float* logits) {
  if (cap > 0) {
    cpu::SoftCap(cap, vocab, logits);
    for (int64_t i = 0; i < vocab; ++i) slopes[i] = 1.0f - (logits[i] / cap) * (logits[i] / cap);
  }
  const float target = logits[label];
  const float max = cpu::Max(logits, vocab);
  const float sum = cpu::ExpShifted(max, vocab, logits);
  const float scale = 1.0f / sum;
  for (int64_t i = 0; i < vocab; ++i) logits[i] *= scale;
  logits[label] -= 1.0f;
  if (cap > 0) {
    for (int64_t i = 0; i < vocab; ++i) logits[i] *= slopes[i];
  }
  return std::log(static_cast<double>(sum)) + max - target;
}

}  // namespace

// The idea of computing the gradient with the loss, chunk by chunk, is Liger Kernel's (Hsu et al. 2024). Rows without a
// label are left out of both products.
void CpuBackend::LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                                    std::span<double> losses, const TensorView& dx) {
  const int64_t hidden = x.shape[1], vocab = head.weight.rows();
  std::fill(losses.begin(), losses.end(), 0.0);
  if (dx.data != nullptr) std::memset(dx.data, 0, dx.size_bytes());
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < x.rows(); ++r) {
    if (labels[r] != kIgnoredLabel) rows.push_back(r);
  }
  const int64_t slopes_elements = head.soft_cap > 0 ? pool_.num_threads() * vocab : 0;
  float* slopes = Scratch(kScratchLogits, kChunkRows * (vocab + 2 * hidden) + slopes_elements);
  float* scratch = slopes + slopes_elements;
  for (size_t first = 0; first < rows.size(); first += kChunkRows) {
    const int64_t count = std::min<int64_t>(kChunkRows, static_cast<int64_t>(rows.size() - first));
    const TensorView logits = View(scratch, {count, vocab});
    const TensorView in = View(scratch + kChunkRows * vocab, {count, hidden});
    const TensorView din = View(in.f32() + kChunkRows * hidden, {count, hidden});
    const size_t row_bytes = hidden * sizeof(float);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(in.f32() + i * hidden, x.f32() + rows[first + i] * hidden, row_bytes);
    }
    Linear(in, head.weight, Accumulate::kNo, logits);
    pool_.For(count, [&](int64_t i, int thread) {
      const int64_t row = rows[first + i];
      losses[row] =
          CrossEntropyRow(labels[row], vocab, head.soft_cap, slopes + thread * vocab, logits.f32() + i * vocab);
    });
    if (dx.data == nullptr) continue;
    LinearBackwardInput(logits, head.weight, Accumulate::kNo, din);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(dx.f32() + rows[first + i] * hidden, din.f32() + i * hidden, row_bytes);
    }
  }
}

}  // namespace tandem
