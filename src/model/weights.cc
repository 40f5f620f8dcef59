#include "model/weights.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace tandem {
namespace {

// Reads tensors by the names and shapes that one description gives them.
class Loader {
 public:
  Loader(const ModelDesc& desc, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress)
      : desc_(desc), checkpoint_(checkpoint), backend_(backend), progress_(progress) {}

  absl::StatusOr<std::unique_ptr<Matrix>> LoadMatrix(const std::string& name, const Shape& shape) {
    ASSIGN_OR_RETURN(const TensorView view, FindShaped(name + ".weight", shape));
    if (progress_) RETURN_IF_ERROR(progress_(static_cast<double>(elements_) / desc_.num_parameters()));
    std::unique_ptr<Matrix> matrix = backend_.CreateMatrix(view);
    checkpoint_.DoneWith(name + ".weight");
    elements_ += view.shape.num_elements();
    return matrix;
  }

  // Every element plus `offset`.
  absl::StatusOr<DeviceTensor> LoadVector(const std::string& name, int64_t size, float offset = 0) {
    ASSIGN_OR_RETURN(const TensorView view, FindShaped(name, {size}));
    const Tensor vector = Tensor::Empty(DType::kF32, {size});
    ConvertToF32(view, vector.f32());
    for (int64_t i = 0; i < size && offset != 0; ++i) vector.f32()[i] += offset;
    return DeviceTensor::CopyOf(backend_, vector.view());
  }

  // Nothing where `name` is empty.
  absl::Status LoadNorm(const std::string& prefix, const std::string& name, int64_t size, NormKind kind,
                        NormWeights& norm) {
    if (name.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(norm.weight, LoadVector(prefix + name + ".weight", size, desc_.norm_offset));
    if (kind == NormKind::kLayer) {
      ASSIGN_OR_RETURN(norm.bias, LoadVector(prefix + name + ".bias", size));
    }
    return absl::OkStatus();
  }

  absl::Status LoadHalfNorms(const std::string& prefix, const HalfNorms& names, HalfNormWeights& norms) {
    RETURN_IF_ERROR(LoadNorm(prefix, names.in, desc_.hidden, desc_.norm, norms.in));
    RETURN_IF_ERROR(LoadNorm(prefix, names.out, desc_.hidden, desc_.norm, norms.out));
    return LoadNorm(prefix, names.after, desc_.hidden, desc_.norm, norms.after);
  }

  absl::StatusOr<LayerWeights> LoadLayer(int index, const LinearShapes& shapes) {
    LayerWeights layer;
    const std::string prefix = absl::StrCat(desc_.linears.layers, ".", index, ".");
    RETURN_IF_ERROR(LoadHalfNorms(prefix, desc_.attention_norms, layer.attention_norms));
    RETURN_IF_ERROR(LoadHalfNorms(prefix, desc_.mlp_norms, layer.mlp_norms));
    RETURN_IF_ERROR(LoadNorm(prefix, desc_.q_norm, desc_.head_dim, NormKind::kRms, layer.q_norm));
    RETURN_IF_ERROR(LoadNorm(prefix, desc_.k_norm, desc_.head_dim, NormKind::kRms, layer.k_norm));
    for (const LinearKind kind : shapes.names.Kinds()) {
      const int i = static_cast<int>(kind);
      const std::string name = shapes.names.ModuleName(index, kind);
      ASSIGN_OR_RETURN(layer.linears[i], LoadMatrix(name, {shapes[kind].out, shapes[kind].in}));
      if (desc_.biases[i]) {
        ASSIGN_OR_RETURN(layer.biases[i], LoadVector(name + ".bias", shapes[kind].out));
      }
    }
    RETURN_IF_ERROR(LoadExperts(prefix, layer));
    return layer;
  }

 private:
  absl::StatusOr<TensorView> FindShaped(const std::string& name, const Shape& want) {
    ASSIGN_OR_RETURN(const TensorView view, checkpoint_.Find(name));
    if (view.shape != want) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " has shape ", view.shape.ToString(), ", config.json wants ", want.ToString()));
    }
    if (view.dtype == DType::kI32) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is i32, want f32, bf16 or f16"));
    }
    return view;
  }

  absl::Status LoadExperts(const std::string& prefix, LayerWeights& layer) {
    const ExpertsDesc& experts = desc_.experts;
    if (experts.count == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(layer.router, LoadMatrix(prefix + experts.router, {experts.count, desc_.hidden}));
    for (int i = 0; i < experts.count; ++i) {
      const std::string expert = absl::StrCat(prefix, experts.prefix, ".", i, ".");
      ExpertWeights& weights = layer.experts;
      ASSIGN_OR_RETURN(weights.gate.emplace_back(), LoadMatrix(expert + experts.gate, {desc_.ffn, desc_.hidden}));
      ASSIGN_OR_RETURN(weights.up.emplace_back(), LoadMatrix(expert + experts.up, {desc_.ffn, desc_.hidden}));
      ASSIGN_OR_RETURN(weights.down.emplace_back(), LoadMatrix(expert + experts.down, {desc_.hidden, desc_.ffn}));
    }
    return absl::OkStatus();
  }

  const ModelDesc& desc_;
  const Checkpoint& checkpoint_;
  Backend& backend_;
  const LoadProgress& progress_;
  int64_t elements_ = 0;  // of the matrices in place
};

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const ModelDesc& desc, const Checkpoint& checkpoint, Backend& backend,
                                         const LoadProgress& progress) {
  Loader loader(desc, checkpoint, backend, progress);
  ModelWeights weights;
  const TensorNames& names = desc.names;
  const Shape table = {desc.vocab, desc.embedding_width};
  ASSIGN_OR_RETURN(weights.embedding, loader.LoadMatrix(names.embedding, table));
  if (!desc.tie_word_embeddings) {
    ASSIGN_OR_RETURN(weights.untied_head, loader.LoadMatrix(names.head, table));
  }
  if (!names.positions.empty()) {
    const Shape shape = {desc.max_context + desc.position_offset, desc.hidden};
    ASSIGN_OR_RETURN(weights.positions, loader.LoadMatrix(names.positions, shape));
  }
  if (!names.project_in.empty()) {
    ASSIGN_OR_RETURN(weights.project_in, loader.LoadMatrix(names.project_in, {desc.hidden, desc.embedding_width}));
    ASSIGN_OR_RETURN(weights.project_out, loader.LoadMatrix(names.project_out, {desc.embedding_width, desc.hidden}));
  }
  RETURN_IF_ERROR(loader.LoadNorm("", names.final_norm, desc.hidden, desc.norm, weights.final_norm));
  const LinearShapes shapes = desc.linear_shapes();
  for (int i = 0; i < desc.num_layers; ++i) {
    ASSIGN_OR_RETURN(LayerWeights layer, loader.LoadLayer(i, shapes));
    weights.layers.push_back(std::move(layer));
  }
  weights.dtype = weights.layers[0][LinearKind::kQProj].dtype();
  return weights;
}

}  // namespace tandem
