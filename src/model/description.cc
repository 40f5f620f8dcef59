#include "model/description.h"

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "model/families.h"

namespace tandem {
namespace {

constexpr size_t kMaxConfigBytes = 10'000'000;

}  // namespace

absl::StatusOr<ModelDesc> LoadModelDesc(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  const absl::StatusOr<Json> config = ParseJson(text);
  if (!config.ok()) return Annotate(config.status(), path);
  absl::StatusOr<ModelDesc> desc = ParseModelDesc(*config);
  if (!desc.ok()) return Annotate(desc.status(), path);
  return desc;
}

absl::StatusOr<ModelDesc> ParseModelDesc(const Json& config) {
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(DescribeJson(config), ", want an object"));
  return ReadFamily(config);
}

LinearShapes ModelDesc::linear_shapes() const {
  LinearShapes shapes;
  shapes.num_layers = num_layers;
  shapes.names = linears;
  const auto set = [&](LinearKind kind, int64_t in, int64_t out) {
    if (linears.Has(kind)) shapes.dims[static_cast<int>(kind)] = {in, out};
  };
  set(LinearKind::kQProj, hidden, q_size());
  set(LinearKind::kKProj, hidden, kv_size());
  set(LinearKind::kVProj, hidden, kv_size());
  set(LinearKind::kOProj, q_size(), hidden);
  set(LinearKind::kGateProj, hidden, ffn);
  set(LinearKind::kUpProj, hidden, ffn);
  set(LinearKind::kDownProj, ffn, hidden);
  return shapes;
}

int64_t ModelDesc::num_parameters() const {
  const int64_t wide = hidden, norm_size = norm == NormKind::kLayer ? 2 * wide : wide;
  const auto count = [](const std::string& name, int64_t size) { return name.empty() ? 0 : size; };
  int64_t layer = count(q_norm, head_dim) + count(k_norm, head_dim);
  for (const HalfNorms* norms : {&attention_norms, &mlp_norms}) {
    for (const std::string& name : {norms->in, norms->out, norms->after}) layer += count(name, norm_size);
  }
  const LinearShapes shapes = linear_shapes();
  for (const LinearKind kind : kAllLinears) {
    layer += shapes[kind].in * shapes[kind].out + (has_bias(kind) ? shapes[kind].out : 0);
  }
  layer += experts.count * (wide + 3 * wide * ffn);
  const int64_t embedding = static_cast<int64_t>(vocab) * embedding_width;
  return num_layers * layer + count(names.final_norm, norm_size) + (tie_word_embeddings ? 1 : 2) * embedding +
         count(names.positions, (static_cast<int64_t>(max_context) + position_offset) * wide) +
         count(names.project_in, 2 * wide * embedding_width);
}

}  // namespace tandem
