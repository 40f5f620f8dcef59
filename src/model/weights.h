// The frozen backbone, prepared once at load in the backend's layout.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/device_tensor.h"
#include "model/description.h"
#include "store/safetensors.h"
#include "tandem/backend.h"
#include "tandem/load_progress.h"

namespace tandem {

// f32, the description's offset added; empty where the family has no such norm.
struct NormWeights {
  DeviceTensor weight, bias;  // bias: of LayerNorms
  bool exists() const { return !weight.empty(); }
};

struct HalfNormWeights {
  NormWeights in, out, after;  // see HalfNorms
};

struct ExpertWeights {
  std::vector<std::unique_ptr<Matrix>> gate, up, down;  // [experts]
};

struct LayerWeights {
  HalfNormWeights attention_norms, mlp_norms;
  NormWeights q_norm, k_norm;                    // [head_dim]
  std::unique_ptr<Matrix> linears[kNumLinears];  // by LinearKind; null where the family has none
  DeviceTensor biases[kNumLinears];              // f32 [out]; empty where there is none
  std::unique_ptr<Matrix> router;                // [experts, hidden]; null where the MLP is dense
  ExpertWeights experts;
  const Matrix& operator[](LinearKind kind) const { return *linears[static_cast<int>(kind)]; }
};

struct ModelWeights {
  std::unique_ptr<Matrix> embedding;                // [vocab, embedding_width]
  std::unique_ptr<Matrix> positions;                // learned, [rows, hidden]; or null
  std::unique_ptr<Matrix> project_in, project_out;  // [hidden, embedding_width] and back; or null
  std::unique_ptr<Matrix> untied_head;              // as embedding; null where the head is the embedding
  NormWeights final_norm;                           // [hidden]
  std::vector<LayerWeights> layers;
  DType dtype = DType::kF32;  // of the linears

  const Matrix& head() const { return untied_head ? *untied_head : *embedding; }
};

// Takes every tensor of the description from the checkpoint. NOT_FOUND or INVALID_ARGUMENT names the tensor, its shape
// and the one that config.json asks for. The checkpoint is not needed afterwards; pages of it that have been read are
// given back on the way, so that the weights are in memory about once.
absl::StatusOr<ModelWeights> LoadWeights(const ModelDesc& desc, const Checkpoint& checkpoint, Backend& backend,
                                         const LoadProgress& progress = nullptr);

}  // namespace tandem
