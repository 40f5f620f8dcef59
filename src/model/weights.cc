#include "model/weights.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

absl::StatusOr<TensorView> FindShaped(const Checkpoint& checkpoint, const std::string& name, const Shape& want) {
  ASSIGN_OR_RETURN(const TensorView view, checkpoint.Find(name));
  if (view.shape != want) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, " has shape ", view.shape.ToString(), ", config.json wants ", want.ToString()));
  }
  if (view.dtype == DType::kI32) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is i32, want f32, bf16 or f16"));
  }
  return view;
}

absl::StatusOr<std::unique_ptr<Matrix>> LoadMatrix(const Checkpoint& checkpoint, const std::string& name,
                                                   const Shape& shape, Backend& backend) {
  ASSIGN_OR_RETURN(const TensorView view, FindShaped(checkpoint, name, shape));
  return backend.CreateMatrix(view);
}

absl::StatusOr<Tensor> LoadVector(const Checkpoint& checkpoint, const std::string& name, int64_t size) {
  ASSIGN_OR_RETURN(const TensorView view, FindShaped(checkpoint, name, {size}));
  Tensor vector = Tensor::Empty(DType::kF32, {size});
  ConvertToF32(view, vector.f32());
  return vector;
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const ModelDesc& desc, const Checkpoint& checkpoint, Backend& backend) {
  ModelWeights weights;
  const Shape table = {desc.vocab, desc.hidden};
  ASSIGN_OR_RETURN(weights.embedding, LoadMatrix(checkpoint, "model.embed_tokens.weight", table, backend));
  if (!desc.tie_word_embeddings) {
    ASSIGN_OR_RETURN(weights.untied_head, LoadMatrix(checkpoint, "lm_head.weight", table, backend));
  }
  ASSIGN_OR_RETURN(weights.final_norm, LoadVector(checkpoint, "model.norm.weight", desc.hidden));
  const LinearShapes shapes = desc.linear_shapes();
  for (int i = 0; i < desc.num_layers; ++i) {
    LayerWeights layer;
    const std::string prefix = absl::StrCat("model.layers.", i);
    ASSIGN_OR_RETURN(layer.attention_norm, LoadVector(checkpoint, prefix + ".input_layernorm.weight", desc.hidden));
    ASSIGN_OR_RETURN(layer.mlp_norm, LoadVector(checkpoint, prefix + ".post_attention_layernorm.weight", desc.hidden));
    for (const LinearKind kind : kAllLinears) {
      ASSIGN_OR_RETURN(layer.linears[static_cast<int>(kind)],
                       LoadMatrix(checkpoint, WeightName(i, kind), {shapes[kind].out, shapes[kind].in}, backend));
    }
    weights.layers.push_back(std::move(layer));
  }
  weights.dtype = weights.layers[0][LinearKind::kQProj].dtype();
  return weights;
}

}  // namespace tandem
