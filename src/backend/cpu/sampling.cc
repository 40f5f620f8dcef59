// Rows in parallel, each by one thread.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/sampling/token_sampler.h"

namespace tandem {

void CpuBackend::Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
                        std::span<TokenLogprobs> logprobs) {
  const int64_t vocab = logits.shape[1];
  samplers_.resize(pool_.num_threads());
  pool_.For(static_cast<int64_t>(requests.size()), [&](int64_t i, int thread) {
    const std::span<float> row(logits.f32() + i * vocab, vocab);
    ids[i] = samplers_[thread].Sample(requests[i], row, logprobs.empty() ? nullptr : &logprobs[i]);
  });
}

void CpuBackend::Score(const TensorView& logits, std::span<const ScoreRequest> requests,
                       std::span<TokenLogprobs> logprobs) {
  const int64_t vocab = logits.shape[1];
  samplers_.resize(pool_.num_threads());
  pool_.For(static_cast<int64_t>(requests.size()), [&](int64_t i, int thread) {
    const std::span<const float> row(logits.f32() + i * vocab, vocab);
    logprobs[i] = samplers_[thread].Score(row, requests[i].token, requests[i].num_top);
  });
}

}  // namespace tandem
