// Cross entropy with the head, a chunk of labelled rows at a time: gather, product, loss and gradient in place, product
// back, scatter.
#include "kernels/loss.h"

#include <algorithm>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "kernels/embedding.h"

namespace tandem {
namespace {

// As many rows as the scratch goal has room for logits and their gradient; enough for the products to be products.
int64_t ChunkRows(int64_t rows, int64_t vocab, DType type) {
  constexpr int64_t kGrain = 128;
  const int64_t row_bytes = vocab * static_cast<int64_t>(sizeof(float) + (type == DType::kF32 ? 0 : ByteSize(type)));
  const int64_t fit = static_cast<int64_t>(cuda::Runtime::kScratchGoal) / row_bytes / kGrain * kGrain;
  return std::min(rows, std::max(fit, kGrain));
}

}  // namespace

void CudaBackend::LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                                     std::span<double> losses, const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "LinearCrossEntropy");
  std::fill(losses.begin(), losses.end(), 0.0);
  if (dx.data != nullptr) Zero(dx);
  std::vector<int32_t> rows, own_labels;
  for (int64_t r = 0; r < x.rows(); ++r) {
    if (labels[r] == kIgnoredLabel) continue;
    rows.push_back(static_cast<int32_t>(r));
    own_labels.push_back(labels[r]);
  }
  if (rows.empty()) return;
  const int64_t hidden = x.shape[1], vocab = head.weight.rows(), total = static_cast<int64_t>(rows.size());
  const int64_t chunk = ChunkRows(total, vocab, x.dtype);
  const kernels::Type type = cuda::TypeOf(x.dtype);
  const std::span<const int32_t> device_rows = runtime_.ToDevice(std::span<const int32_t>(rows));
  const std::span<const int32_t> device_labels = runtime_.ToDevice(std::span<const int32_t>(own_labels));
  double* const device_losses = runtime_.Result<double>(total, [rows, losses](std::span<const double> values) {
    for (size_t i = 0; i < rows.size(); ++i) losses[rows[i]] = values[i];
  });
  const TensorView in = {runtime_.Scratch<char>(chunk * hidden * ByteSize(x.dtype)), x.dtype, {chunk, hidden}};
  const TensorView logits = View(runtime_.Scratch<float>(chunk * vocab), {chunk, vocab});
  TensorView dlogits;  // in the place of logits where they have the same type
  if (dx.data != nullptr) {
    dlogits = {logits.data, x.dtype, logits.shape};
    if (x.dtype != DType::kF32) dlogits.data = runtime_.Scratch<char>(chunk * vocab * ByteSize(x.dtype));
  }
  const int64_t parts = (total + chunk - 1) / chunk;
  for (int64_t first = 0, part = 0; part < parts; first += chunk, ++part) {
    const int64_t count = std::min(chunk, total - first);
    kernels::RowCopyArgs copy = {.from_type = type,
                                 .to_type = type,
                                 .from = x.data,
                                 .numbers = device_rows.data() + first,
                                 .to = in.data,
                                 .rows = count,
                                 .columns = hidden};
    runtime_.Launch(kernels::LaunchGatherRows, copy);
    Linear(in.Rows(0, count), head.weight, Accumulate::kNo, logits.Rows(0, count));
    runtime_.Launch(kernels::LaunchCrossEntropy, kernels::CrossEntropyArgs{.logits = logits.f32(),
                                                                           .labels = device_labels.data() + first,
                                                                           .rows = count,
                                                                           .vocab = vocab,
                                                                           .soft_cap = head.soft_cap,
                                                                           .losses = device_losses + first,
                                                                           .dlogits = dlogits.data,
                                                                           .dlogits_type = type});
    if (dx.data == nullptr) continue;
    LinearBackwardInput(dlogits.Rows(0, count), head.weight, Accumulate::kNo, in.Rows(0, count));
    copy.from = in.data;
    copy.to = dx.data;
    runtime_.Launch(kernels::LaunchScatterRows, copy);
  }
}

}  // namespace tandem
