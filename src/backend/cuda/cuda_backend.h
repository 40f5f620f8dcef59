// The CUDA backend: cuBLASLt for plain products, our own kernels (kernels/) for all else. One file per family of
// operations, thin: each takes views, brings host tables to the device through the Runtime, and launches.
//
// Activations are bf16 beside bf16 weights and f32 beside f32; sums are f32. With `deterministic` a row's result does
// not depend on the other rows of its batch; where that holds without, it costs nothing.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/matmul.h"
#include "backend/cuda/runtime.h"
#include "kernels/activation.h"
#include "kernels/common/types.h"
#include "kernels/experts.h"
#include "tandem/backend.h"

namespace tandem {

struct CudaOptions {
  bool deterministic = false;
  bool graphs = true;                     // replay repeated decode steps
  size_t slab_bytes = size_t{256} << 20;  // that device memory is taken in; 0: each allocation on its own
};

// A weight as the checkpoint has it: [out, in] row by row, bf16 or f32, on the device. f16 is rounded to bf16. f32 may
// have a copy in bf16 beside it: what is trained is f32, and tensor cores take bf16.
class CudaMatrix final : public Matrix {
 public:
  enum class Copies { kOne, kBf16Too };
  CudaMatrix(cuda::Runtime& runtime, const TensorView& host, Copies copies);
  CudaMatrix(const CudaMatrix&) = delete;
  CudaMatrix& operator=(const CudaMatrix&) = delete;
  ~CudaMatrix() override;

  static const CudaMatrix& Of(const Matrix& matrix) { return static_cast<const CudaMatrix&>(matrix); }
  int64_t rows() const override { return view_.shape[0]; }
  int64_t columns() const override { return view_.shape[1]; }
  DType dtype() const override { return view_.dtype; }
  size_t size_bytes() const override { return view_.size_bytes(); }
  const TensorView& view() const { return view_; }
  const void* data() const { return view_.data; }
  const float* f32() const { return view_.f32(); }
  const TensorView& bf16_copy() const { return bf16_copy_; }  // without data where there is none

 private:
  cuda::Runtime& runtime_;
  TensorView view_, bf16_copy_;
};

namespace cuda {

kernels::Activation KindOf(Activation kind);  // activation.cc

inline kernels::Type TypeOf(DType dtype) {
  return dtype == DType::kF32 ? kernels::Type::kF32 : kernels::Type::kBf16;
}

}  // namespace cuda

class CudaBackend final : public Backend {
 public:
  // UNAVAILABLE where there is no driver or device.
  static absl::StatusOr<std::unique_ptr<CudaBackend>> Create(const CudaOptions& options);
  std::string name() const override;  // "cuda (NVIDIA H200, sm_90, 139 GiB)"
  cuda::Runtime& runtime() { return *runtime_owner_; }

  // cuda_backend.cc
  std::unique_ptr<Matrix> CreateMatrix(const TensorView& host) override;
  void UpdateMatrix(Matrix& matrix, const TensorView& weight) override;
  DType ActivationDType(DType weights) const override;
  void* Allocate(size_t bytes) override { return runtime_.Allocate(bytes); }
  void Free(void* data) override { runtime_.Free(data); }
  void Copy(const TensorView& from, const TensorView& to) override;
  void Zero(const TensorView& x) override;
  void Upload(const TensorView& host, const TensorView& to) override;
  void UploadFresh(const TensorView& host, const TensorView& to) override;
  void Download(const TensorView& from, const TensorView& host) override;
  bool runs_ahead() const override { return true; }
  void EndStep() override { runtime_.EndStep(); }
  absl::Status AwaitStep() override { return runtime_.AwaitStep(); }
  absl::Status Finish() override { return runtime_.Finish(); }
  absl::Status step_error() const override { return runtime_.step_error(); }
  bool alive() const override { return runtime_.alive(); }
  void BeginBackward() override { runtime_.BeginBackward(); }
  void EndBackward() override { runtime_.EndBackward(); }
  bool overlaps_backward() const override { return true; }
  void RunRepeated(uint64_t key, const std::function<void()>& body) override;
  int PaddedRows(int rows) const override;

  // linear.cc
  void Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) override;
  void LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) override;
  // lora.cc
  void Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) override;
  void LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                    const LoraGradients& gradients, const TensorView& dx) override;
  // column_scale.cc
  void ScaleColumns(std::span<const ScaleSegment> segments, const TensorView& y) override;
  void ScaleColumnsBackward(const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                            const TensorView& dfactor, const TensorView& dx) override;
  void RowSquares(const Matrix& w, const TensorView& squares) override;
  void InverseRowNorms(const RowNormArgs& args, const TensorView& inverse) override;
  // embedding.cc
  void Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) override;
  void GatherRows(const TensorView& x, std::span<const int32_t> rows, const TensorView& y) override;
  // norm.cc
  void RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
               const TensorView& y) override;
  void RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                       Accumulate mode, const TensorView& dx) override;
  void LayerNorm(const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon, Accumulate mode,
                 const TensorView& y) override;
  void LayerNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                         Accumulate mode, const TensorView& dx) override;
  // rope.cc
  void Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
            const TensorView& x) override;
  void RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                    const TensorView& dx) override;
  // activation.cc
  void Activate(Activation kind, const TensorView& x, const TensorView& y) override;
  void ActivateBackward(Activation kind, const TensorView& x, const TensorView& dy, const TensorView& dx) override;
  void ActivateMul(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) override;
  void ActivateMulBackward(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& dy,
                           const TensorView& dgate, const TensorView& dup) override;
  void Add(const TensorView& x, const TensorView& y) override;
  void AddBias(const TensorView& bias, const TensorView& y) override;
  void Scale(float factor, const TensorView& x) override;
  void SoftCap(float cap, const TensorView& x) override;
  // moe.cc
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
  // attention.cc
  void AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                const PagedKv& kv) override;
  void Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
                 const AttentionOptions& options, const TensorView& out, const TensorView& lse) override;
  void AttentionBackward(const AttentionBackwardArgs& args) override;
  // loss.cc
  void LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                          std::span<double> losses, const TensorView& dx) override;
  // sampling.cc
  void Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
              std::span<TokenLogprobs> logprobs) override;
  void Score(const TensorView& logits, std::span<const ScoreRequest> requests,
             std::span<TokenLogprobs> logprobs) override;
  // optimizer.cc
  void ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options, const TensorView& scale,
                     std::span<double> norm) override;
  void AdamW(std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) override;

 private:
  CudaBackend(const CudaOptions& options, std::unique_ptr<cuda::Runtime> runtime);

  void LaunchExperts(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y,
                     kernels::ExpertProductArgs args);
  const void* const* AddressesOf(ExpertMatrices w);

  const CudaOptions options_;
  // Whether the backbone is: what is f32 beside it are adapters, whose rows are bf16. Matrices come from any thread.
  std::atomic<bool> bf16_backbone_{false};
  const std::unique_ptr<cuda::Runtime> runtime_owner_;
  cuda::Runtime& runtime_;                               // *runtime_owner_
  cuda::Matmul matmul_;                                  // products of any shape: for linear.cc and loss.cc
  std::map<std::vector<const void*>, void*> addresses_;  // of experts' matrices: the same on the device; for moe.cc
};

}  // namespace tandem
