// The frozen backbone, prepared once at load in the backend's layout.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/description.h"
#include "store/safetensors.h"
#include "tandem/backend.h"
#include "tensor/tensor.h"

namespace tandem {

struct LayerWeights {
  Tensor attention_norm, mlp_norm;               // [hidden] f32
  std::unique_ptr<Matrix> linears[kNumLinears];  // by LinearKind
  const Matrix& operator[](LinearKind kind) const { return *linears[static_cast<int>(kind)]; }
};

struct ModelWeights {
  std::unique_ptr<Matrix> embedding;    // [vocab, hidden]
  std::unique_ptr<Matrix> untied_head;  // [vocab, hidden]; null where the head is the embedding
  Tensor final_norm;                    // [hidden] f32
  std::vector<LayerWeights> layers;
  DType dtype = DType::kF32;  // of the linears

  const Matrix& head() const { return untied_head ? *untied_head : *embedding; }
};

// Takes every tensor of the description from the checkpoint. NOT_FOUND or INVALID_ARGUMENT names the tensor, its shape
// and the one that config.json asks for. The checkpoint is not needed afterwards.
absl::StatusOr<ModelWeights> LoadWeights(const ModelDesc& desc, const Checkpoint& checkpoint, Backend& backend);

}  // namespace tandem
