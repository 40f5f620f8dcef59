// What a model does, without scheduler, engine or server: prefill, decode and a LoRA training step on batches made by
// hand.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "adapter/adapter_store.h"
#include "model/model.h"
#include "training/lora_trainer.h"

namespace tandem::enginebench {

class Workloads {
 public:
  static absl::StatusOr<std::unique_ptr<Workloads>> Load(const std::string& directory, int threads);

  // Each returns its tokens.
  int Prefill(int tokens);                // one prompt, then one greedy token
  int Decode(int sequences);              // kDecodeSteps steps of as many sequences, from kDecodePosition on
  int TrainLora(int tokens, int window);  // forward, backward and optimizer step; rank 8 on q_proj and v_proj

  // Bytes of weights that Decode reads: every linear and the head, at each step.
  double decode_weight_bytes() const;
  // Of the forward of one token: two per weight of the linears; and of the head.
  double layer_flops() const;
  double head_flops() const;
  const Backend& backend() const { return *backend_; }

 private:
  static constexpr int kMaxTokens = 512, kMaxSequences = 16, kBlockSize = 16;
  static constexpr int kDecodePosition = 32, kDecodeSteps = 32;  // what the peer's program does

  Workloads() = default;
  std::span<const BlockId> Blocks(int sequence) const {
    return std::span(blocks_).subspan(sequence * (kMaxTokens / kBlockSize), kMaxTokens / kBlockSize);
  }
  void Append(Batch& batch, Span span) const;

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<AdapterStore> adapters_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<LoraTrainer> trainer_;
  std::unique_ptr<Tape> tape_;
  std::vector<BlockId> blocks_;
};

}  // namespace tandem::enginebench
