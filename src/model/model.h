// A loaded model: the base weights once, the KV pool's bytes, and one pass over both for everything in a batch.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "adapter/adapter_store.h"
#include "model/backward_lane.h"
#include "model/decoder.h"
#include "model/description.h"
#include "model/row_norms.h"
#include "tandem/load_progress.h"

namespace tandem {

struct ModelOptions {
  int max_batch_rows = 512;  // rows of one batch, and of one backward window
  int max_context = 0;       // tokens of a sequence; 0: the model's own
  int kv_blocks = 1024;
  int kv_block_size = 16;
  LoadProgress progress;
};

class Model {
 public:
  // Reads config.json and the checkpoint of `directory`. The backend and the adapter store must outlive the model.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& directory, const ModelOptions& options,
                                                     Backend& backend, const AdapterStore& adapters);

  // One step in three parts, for a device that works on its own (all on the step thread):
  //   Launch          one forward pass over the base weights for all spans, and what is drawn and learned from it
  //   LaunchBackward  the backward units in order, until `yield`, where there is one, becomes true: what did not run is
  //                   counted in the result. With it the step has been given to the device: it may wait while much of
  //                   backward is still to do, but not for all of it.
  //   Collect         waits until the step is over
  // Where runs_ahead, the next step may be launched before this one is collected, and collected before the next one's
  // LaunchBackward. What the batch borrows may go after LaunchBackward.
  struct InFlight {
    StepResult result;
    std::vector<double> row_losses;  // [num_rows]
  };
  InFlight Launch(const Batch& batch);
  void LaunchBackward(const Batch& batch, const std::atomic<bool>* yield, InFlight& step);
  StepResult Collect(const Batch& batch, InFlight step);
  bool runs_ahead() const { return backend_.runs_ahead(); }
  // All three.
  StepResult Run(const Batch& batch, const std::atomic<bool>* yield = nullptr);

  // Whether the backend has a lane for Batch::backward_beside.
  bool has_lane() const { return lane_ != nullptr; }
  // Returns when no backward unit is under way any more: before what units borrow may go, their jobs' gradients and
  // adapters included.
  void SettleBackward();

  // Logits [num_rows, vocab] of every row of the batch, which holds no training: for tests and tools.
  Tensor Logits(const Batch& batch);  // on the host

  // Of its linears' rows; step thread only.
  RowNorms& row_norms() { return row_norms_; }
  const ModelDesc& desc() const { return desc_; }
  int max_context() const { return max_context_; }
  DType weight_dtype() const { return weights_.dtype; }
  DType activation_dtype() const { return activations_; }

 private:
  Model(ModelDesc desc, ModelWeights weights, const ModelOptions& options, Backend& backend,
        const AdapterStore& adapters);
  DecoderContext context() { return context(backend_); }
  DecoderContext context(Backend& backend) { return {backend, desc_, weights_, kv_, adapters_, rope_tables_}; }
  LmHead head() const { return {weights_.head(), desc_.logit_soft_cap}; }
  // What the head reads: [rows, embedding_width], through the final norm and projection where there are such.
  TensorView HeadInput(const TensorView& hidden);
  // dx of `hidden` from the gradient of HeadInput(hidden).
  void HeadInputBackward(const TensorView& hidden, const TensorView& dinput, const TensorView& dx);
  void Head(const TensorView& hidden, const TensorView& logits);
  // Logits of the rows that the requests of either kind name, for a chunk of them; until the next call.
  template <typename Request>
  TensorView LogitsOf(std::span<const Request> requests);
  void Sample(const Batch& batch, StepResult& result);
  void Score(const Batch& batch, StepResult& result);
  void Pool(const Batch& batch);
  // Losses of a training or evaluation span's rows, good when the step is over.
  void Loss(const Span& span, const Batch& batch, std::span<double> losses);
  // Brings up to date what the batch's adapters have of the model's making.
  void PrepareAdapters(const Batch& batch);
  void RunForward(const Batch& batch);
  // Before and after the forward of `batch`. The latter says how many units are through and what the time says.
  void BeginBackward(const Batch& batch);
  void EndBackward(const Batch& batch, const std::atomic<bool>* yield, StepResult& result);
  int RunBackward(std::span<const BackwardUnit> units, const std::atomic<bool>* yield);  // how many ran

  const ModelDesc desc_;
  const ModelWeights weights_;
  Backend& backend_;
  const AdapterStore& adapters_;
  KvStorage kv_;
  const int max_context_;
  const DType activations_;
  const BlockId padding_block_;  // of the KV pool, nobody's: rows that only pad a batch of decode write there
  std::vector<DeviceTensor> rope_tables_;
  RowNorms row_norms_;
  DecoderScratch scratch_;
  std::optional<DecoderScratch> backward_scratch_;  // where backward may run beside forward
  DeviceTensor hidden_;                             // [max_batch_rows, hidden]
  DeviceTensor dhead_;                              // [max_batch_rows, embedding_width]; the gradient of HeadInput
  DeviceTensor logits_;                             // [rows of a chunk, vocab] f32
  std::unique_ptr<BackwardLane> lane_;              // null where the backend has none; ends before all above
};

}  // namespace tandem
