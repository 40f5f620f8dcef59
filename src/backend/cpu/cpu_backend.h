// The CPU backend: always there, the oracle for every kernel, and fast in its own right. One file per family of
// operations.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/gemm.h"
#include "backend/cpu/kv_layout.h"
#include "backend/cpu/packed_matrix.h"
#include "backend/cpu/sampling/token_sampler.h"
#include "base/thread_pool.h"
#include "tandem/backend.h"

namespace tandem {

class CpuBackend : public Backend {
 public:
  CpuBackend(int num_threads, Bf16Products bf16_products);
  std::string name() const override;

  std::unique_ptr<Matrix> CreateMatrix(const TensorView& host) override;
  void UpdateMatrix(Matrix& matrix, const TensorView& weight) override;

  void Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) override;
  void LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) override;
  void Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) override;
  void LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                    const LoraGradients& gradients, const TensorView& dx) override;
  void ScaleColumns(std::span<const ScaleSegment> segments, const TensorView& y) override;
  void ScaleColumnsBackward(const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                            const TensorView& dfactor, const TensorView& dx) override;
  void RowSquares(const Matrix& w, const TensorView& squares) override;
  void InverseRowNorms(const RowNormArgs& args, const TensorView& inverse) override;

  void Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) override;
  void GatherRows(const TensorView& x, std::span<const int32_t> rows, const TensorView& y) override;
  void RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
               const TensorView& y) override;
  void RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                       Accumulate mode, const TensorView& dx) override;
  void LayerNorm(const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon, Accumulate mode,
                 const TensorView& y) override;
  void LayerNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                         Accumulate mode, const TensorView& dx) override;
  void Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
            const TensorView& x) override;
  void RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                    const TensorView& dx) override;
  void Activate(Activation kind, const TensorView& x, const TensorView& y) override;
  void ActivateBackward(Activation kind, const TensorView& x, const TensorView& dy, const TensorView& dx) override;
  void ActivateMul(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) override;
  void ActivateMulBackward(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& dy,
                           const TensorView& dgate, const TensorView& dup) override;
  void Add(const TensorView& x, const TensorView& y) override;
  void AddBias(const TensorView& bias, const TensorView& y) override;
  void Scale(float factor, const TensorView& x) override;
  void SoftCap(float cap, const TensorView& x) override;

  void Route(const TensorView& logits, const RouterOptions& options, const Routing& routing) override;
  void RouteBackward(const TensorView& logits, const RouterOptions& options, const Routing& routing,
                     const TensorView& dweights, const TensorView& dlogits) override;
  void GatherChoices(const TensorView& x, const Routing& routing, const TensorView& y) override;
  void CombineChoices(const TensorView& x, const Routing& routing, const TensorView& factors,
                      const TensorView& y) override;
  void WeighChoicesBackward(const TensorView& x, const Routing& routing, const TensorView& dx,
                            const TensorView& dweights) override;
  void ExpertLinear(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y) override;
  void ExpertLinearBackwardInput(const TensorView& dy, ExpertMatrices w, const Routing& routing, Accumulate mode,
                                 const TensorView& dx) override;

  void AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                const PagedKv& kv) override;
  void Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
                 const AttentionOptions& options, const TensorView& out, const TensorView& lse) override;
  void AttentionBackward(const AttentionBackwardArgs& args) override;

  void LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                          std::span<double> losses, const TensorView& dx) override;
  void Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
              std::span<TokenLogprobs> logprobs) override;
  void Score(const TensorView& logits, std::span<const ScoreRequest> requests,
             std::span<TokenLogprobs> logprobs) override;

  void ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options, const TensorView& scale,
                     std::span<double> norm) override;
  void AdamW(std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) override;

  DType ActivationDType(DType weights) const override { return DType::kF32; }
  void* Allocate(size_t bytes) override;
  void Free(void* data) override;
  std::unique_ptr<Backend> CreateLane() override;
  void SetShare(Share share) override;
  void Copy(const TensorView& from, const TensorView& to) override;
  void Zero(const TensorView& x) override;
  void Upload(const TensorView& host, const TensorView& to) override { Copy(host, to); }
  void UploadFresh(const TensorView& host, const TensorView& to) override;
  void Download(const TensorView& from, const TensorView& host) override { Copy(from, host); }

 private:
  // fn(first, count, thread) over about four pieces per thread of [0, count), each a multiple of `grain` but for the
  // last.
  template <typename Fn>
  void ForRange(int64_t count, int64_t grain, Fn&& fn) {
    const int64_t pieces = 4 * pool_.usable_threads();
    const int64_t size = (count + grain * pieces - 1) / (grain * pieces) * grain;
    if (size == 0) return;
    pool_.For((count + size - 1) / size, [&](int64_t piece, int thread) {
      const int64_t first = piece * size;
      fn(first, std::min(size, count - first), thread);
    });
  }

  // The products of Layout::kDot. Activations are rounded to bf16 once per product.
  void LinearDot(const TensorView& x, const PackedMatrix& w, Accumulate mode, const TensorView& y);
  void LinearBackwardInputDot(const TensorView& dy, const PackedMatrix& w, Accumulate mode, const TensorView& dx);
  const uint16_t* Rounded(const TensorView& x);  // until the next call

  cpu::KvLayout LayoutOf(const PagedKv& kv) const;
  void PackAll(const TensorView& weight, PackedMatrix& matrix) const;

  // At least `elements` floats that stay valid until the next call for the same slot. Contents are undefined.
  enum ScratchSlot {
    kScratchLoraU,
    kScratchLoraDu,
    kScratchLoraTail,
    kScratchLogits,
    kScratchAttention,
    kScratchRounded,
    kNumScratchSlots
  };
  float* Scratch(ScratchSlot slot, size_t elements);

  const Bf16Products bf16_products_;
  const PackedMatrix::Layout bf16_layout_;
  ThreadPool pool_;
  Tensor scratch_[kNumScratchSlots];
  std::vector<cpu::TokenSampler> samplers_;  // one for each thread
};

}  // namespace tandem
