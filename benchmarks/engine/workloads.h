// What a model does, without scheduler, engine or server: prefill, decode and a LoRA training step on batches made by
// hand.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "adapter/adapter_store.h"
#include "backend/factory.h"
#include "model/model.h"
#include "training/adapter_trainer.h"

namespace tandem::enginebench {

class Workloads {
 public:
  struct Size {
    int max_tokens = 512, max_sequences = 16;
    int decode_position = 32;  // where decode's first tokens stand
  };
  static absl::StatusOr<std::unique_ptr<Workloads>> Load(const std::string& directory, const BackendOptions& options,
                                                         const Size& size);

  // Each returns its tokens.
  int Prefill(int tokens);                // one prompt, then one greedy token
  int Decode(int sequences);              // kDecodeSteps steps of as many sequences, from decode_position on
  int TrainLora(int tokens, int window);  // forward, backward and optimizer step; rank 8 on q_proj and v_proj

  // Bytes of weights that Decode reads: every linear and the head, at each step.
  double decode_weight_bytes() const;
  // Of the forward of one token: two per weight of the linears; and of the head.
  double layer_flops() const;
  double head_flops() const;
  Backend& backend() { return *backend_; }

 private:
  static constexpr int kBlockSize = 16;
  static constexpr int kDecodeSteps = 32;  // as many as the peer's program does

  explicit Workloads(const Size& size) : size_(size) {}
  // Sequence 0 has blocks for max_tokens; the others follow each other from the first on, for decode.
  std::span<const BlockId> Blocks(int sequence) const {
    const int each = (size_.decode_position + kDecodeSteps) / kBlockSize + 1;
    return std::span(blocks_).subspan(sequence * each, sequence == 0 ? blocks_.size() : each);
  }
  void Run(const Batch& batch);
  void Append(Batch& batch, Span span) const;

  const Size size_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<AdapterStore> adapters_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<AdapterTrainer> trainer_;
  std::unique_ptr<Tape> tape_;
  std::vector<BlockId> blocks_;
};

}  // namespace tandem::enginebench
