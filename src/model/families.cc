#include "model/families.h"

#include <cmath>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/config_reader.h"

namespace tandem {
namespace {

constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxWindow = 1 << 30;

void SetBiases(std::initializer_list<LinearKind> kinds, ModelDesc& desc) {
  for (const LinearKind kind : kinds) desc.biases[static_cast<int>(kind)] = true;
}

// sliding_window; 0 where it is null.
absl::StatusOr<int> ReadWindow(const Json& config, std::optional<int> fallback = {}) {
  if (FieldOf(config, "sliding_window").is_null()) return fallback.value_or(0);
  return ReadSize(config, "sliding_window", kMaxWindow);
}

// Which layers have the window: as layer_types says, else as `has_window` does.
template <typename HasWindow>
absl::Status SetWindows(const Json& config, int window, HasWindow&& has_window, ModelDesc& desc) {
  const Json& types = FieldOf(config, "layer_types");
  if (!types.is_null() && (!types.is_array() || types.size() != desc.layers.size())) {
    return RefuseField("layer_types", types, absl::StrCat("one for each of ", desc.layers.size(), " layers"));
  }
  for (size_t i = 0; i < desc.layers.size(); ++i) {
    bool sliding = has_window(static_cast<int>(i));
    if (!types.is_null()) {
      sliding = types[i] == "sliding_attention";
      if (!sliding && types[i] != "full_attention") {
        return RefuseField("layer_types", types[i], "full_attention or sliding_attention");
      }
    }
    desc.layers[i].window = sliding ? window : 0;
    if (sliding && window == 0) return RefuseField("sliding_window", Json(), "a number: layers slide");
  }
  return absl::OkStatus();
}

// What Llama's relatives share.
absl::StatusOr<ModelDesc> ReadLlamaLike(const Json& config, const CommonDefaults& defaults = {}) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadCommon(config, defaults));
  ASSIGN_OR_RETURN(const double epsilon, ReadPositive(config, "rms_norm_eps", 1e-6));
  desc.norm_eps = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(desc.activation, ReadActivation(config, "hidden_act", "silu"));
  RETURN_IF_ERROR(ReadRope(config, desc));
  return desc;
}

absl::StatusOr<ModelDesc> ReadLlama(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadLlamaLike(config));
  RETURN_IF_ERROR(RequireField(config, "sliding_window", nullptr));
  ASSIGN_OR_RETURN(const bool attention_bias, JsonGet<bool>(config, "attention_bias", false));
  ASSIGN_OR_RETURN(const bool mlp_bias, JsonGet<bool>(config, "mlp_bias", false));
  using enum LinearKind;
  if (attention_bias) SetBiases({kQProj, kKProj, kVProj, kOProj}, desc);
  if (mlp_bias) SetBiases({kGateProj, kUpProj, kDownProj}, desc);
  return desc;
}

absl::StatusOr<ModelDesc> ReadMistral(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadLlamaLike(config));
  ASSIGN_OR_RETURN(const int window, ReadWindow(config));
  RETURN_IF_ERROR(SetWindows(
      config, window, [&](int) { return window > 0; }, desc));
  return desc;
}

// Qwen's windows are off unless use_sliding_window; then the upper layers have one.
absl::Status SetQwenWindows(const Json& config, ModelDesc& desc) {
  ASSIGN_OR_RETURN(const bool slides, JsonGet<bool>(config, "use_sliding_window", false));
  if (!slides) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int window, ReadWindow(config, 4096));
  ASSIGN_OR_RETURN(const int64_t full_layers, JsonGet<int64_t>(config, "max_window_layers", 28));
  return SetWindows(
      config, window, [&](int layer) { return layer >= full_layers; }, desc);
}

absl::StatusOr<ModelDesc> ReadQwen2(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadLlamaLike(config));
  RETURN_IF_ERROR(SetQwenWindows(config, desc));
  using enum LinearKind;
  SetBiases({kQProj, kKProj, kVProj}, desc);
  return desc;
}

absl::Status SetQwen3Attention(const Json& config, ModelDesc& desc) {
  ASSIGN_OR_RETURN(const bool attention_bias, JsonGet<bool>(config, "attention_bias", false));
  using enum LinearKind;
  if (attention_bias) SetBiases({kQProj, kKProj, kVProj, kOProj}, desc);
  desc.q_norm = "self_attn.q_norm";
  desc.k_norm = "self_attn.k_norm";
  return absl::OkStatus();
}

absl::StatusOr<ModelDesc> ReadQwen3(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadLlamaLike(config, {.head_dim = 128}));
  RETURN_IF_ERROR(SetQwenWindows(config, desc));
  RETURN_IF_ERROR(SetQwen3Attention(config, desc));
  return desc;
}

// Experts in place of the MLP: no adapter attaches to those.
absl::Status SetExperts(const Json& config, const char* count_key, ExpertsDesc experts, ModelDesc& desc) {
  ASSIGN_OR_RETURN(experts.count, ReadSize(config, count_key, kMaxExperts));
  ASSIGN_OR_RETURN(experts.routing.top_k, ReadSize(config, "num_experts_per_tok", experts.count));
  desc.experts = std::move(experts);
  for (const LinearKind kind : {LinearKind::kGateProj, LinearKind::kUpProj, LinearKind::kDownProj}) {
    desc.linears.paths[static_cast<int>(kind)].clear();
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelDesc> ReadMixtral(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadMistral(config));
  const ExpertsDesc experts = {.routing = {.normalize = true},
                               .router = "block_sparse_moe.gate",
                               .prefix = "block_sparse_moe.experts",
                               .gate = "w1",
                               .up = "w3",
                               .down = "w2"};
  RETURN_IF_ERROR(SetExperts(config, "num_local_experts", experts, desc));
  return desc;
}

absl::StatusOr<ModelDesc> ReadQwen3Moe(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadLlamaLike(config, {.ffn = "moe_intermediate_size"}));
  RETURN_IF_ERROR(RequireField(config, "decoder_sparse_step", 1));
  RETURN_IF_ERROR(RequireField(config, "mlp_only_layers", Json::array()));
  RETURN_IF_ERROR(SetQwen3Attention(config, desc));
  ASSIGN_OR_RETURN(const bool slides, JsonGet<bool>(config, "use_sliding_window", false));
  if (slides) {
    ASSIGN_OR_RETURN(const int window, ReadWindow(config, 4096));
    RETURN_IF_ERROR(SetWindows(
        config, window, [](int) { return true; }, desc));
  }
  ASSIGN_OR_RETURN(const bool normalize, JsonGet<bool>(config, "norm_topk_prob", false));
  const ExpertsDesc experts = {.routing = {.normalize = normalize},
                               .router = "mlp.gate",
                               .prefix = "mlp.experts",
                               .gate = "gate_proj",
                               .up = "up_proj",
                               .down = "down_proj"};
  // transformers 5 spells it as Mixtral does.
  const char* count_key = FieldOf(config, "num_experts").is_null() ? "num_local_experts" : "num_experts";
  RETURN_IF_ERROR(SetExperts(config, count_key, experts, desc));
  return desc;
}

// --- Gemma -----------------------------------------------------------------------------------------------------------

// Norms by 1 + weight, scaled embeddings, tanh GELU; the head is the embedding.
absl::StatusOr<ModelDesc> ReadGemmaLike(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadCommon(config, {.head_dim = 256, .tie_word_embeddings = true}));
  ASSIGN_OR_RETURN(const double epsilon, ReadPositive(config, "rms_norm_eps", 1e-6));
  desc.norm_eps = static_cast<float>(epsilon);
  desc.norm_offset = 1;
  desc.embedding_scale = std::sqrt(static_cast<float>(desc.hidden));
  // The first Gemma's configs say hidden_act gelu and mean the tanh form; hidden_activation says so.
  ASSIGN_OR_RETURN(desc.activation, ReadActivation(config, "hidden_activation", "gelu_pytorch_tanh"));
  ASSIGN_OR_RETURN(const bool attention_bias, JsonGet<bool>(config, "attention_bias", false));
  using enum LinearKind;
  if (attention_bias) SetBiases({kQProj, kKProj, kVProj, kOProj}, desc);
  RETURN_IF_ERROR(RequireField(config, "use_bidirectional_attention", false));
  return desc;
}

absl::StatusOr<ModelDesc> ReadGemma1(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadGemmaLike(config));
  RETURN_IF_ERROR(ReadRope(config, desc));
  return desc;
}

// What Gemma 2 and 3 share: norms around each half, query_pre_attn_scalar, soft caps.
absl::Status SetSandwich(const Json& config, double attention_cap, double logit_cap, ModelDesc& desc) {
  desc.attention_norms = {.in = "input_layernorm", .out = "post_attention_layernorm", .after = ""};
  desc.mlp_norms = {.in = "pre_feedforward_layernorm", .out = "post_feedforward_layernorm", .after = ""};
  ASSIGN_OR_RETURN(const double scalar, ReadPositive(config, "query_pre_attn_scalar", 256));
  desc.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  const auto read_cap = [&](const char* key, double fallback) -> absl::StatusOr<double> {
    if (config.contains(key) && FieldOf(config, key).is_null()) return 0.0;
    if (fallback == 0 && !config.contains(key)) return 0.0;
    return ReadPositive(config, key, fallback);
  };
  ASSIGN_OR_RETURN(const double attention, read_cap("attn_logit_softcapping", attention_cap));
  ASSIGN_OR_RETURN(const double logits, read_cap("final_logit_softcapping", logit_cap));
  desc.attention_soft_cap = static_cast<float>(attention);
  desc.logit_soft_cap = static_cast<float>(logits);
  return absl::OkStatus();
}

absl::StatusOr<ModelDesc> ReadGemma2(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadGemmaLike(config));
  RETURN_IF_ERROR(ReadRope(config, desc));
  RETURN_IF_ERROR(SetSandwich(config, 50, 30, desc));
  ASSIGN_OR_RETURN(const int window, ReadWindow(config, 4096));
  RETURN_IF_ERROR(SetWindows(
      config, window, [](int layer) { return layer % 2 == 0; }, desc));
  return desc;
}

// Two ropes: the first for layers that see everything, the second for those with a window.
absl::Status SetGemma3Ropes(const Json& config, ModelDesc& desc) {
  ASSIGN_OR_RETURN(const double theta, ReadPositive(config, "rope_theta", 1e6));
  ASSIGN_OR_RETURN(const double local_theta, ReadPositive(config, "rope_local_base_freq", 1e4));
  const Json& newer = FieldOf(config, "rope_parameters");
  const Json& global = newer.is_null() ? FieldOf(config, "rope_scaling") : FieldOf(newer, "full_attention");
  const Json& local = newer.is_null() ? newer : FieldOf(newer, "sliding_attention");
  ASSIGN_OR_RETURN(const RopeDesc of_full, ReadRopeObject(global, "rope of full_attention", theta, desc));
  ASSIGN_OR_RETURN(const RopeDesc of_sliding, ReadRopeObject(local, "rope of sliding_attention", local_theta, desc));
  desc.ropes = {of_full, of_sliding};
  for (LayerDesc& layer : desc.layers) layer.rope = layer.window > 0 ? 1 : 0;
  return absl::OkStatus();
}

absl::StatusOr<ModelDesc> ReadGemma3(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadGemmaLike(config));
  RETURN_IF_ERROR(SetSandwich(config, 0, 0, desc));
  desc.q_norm = "self_attn.q_norm";
  desc.k_norm = "self_attn.k_norm";
  ASSIGN_OR_RETURN(const int window, ReadWindow(config, 4096));
  ASSIGN_OR_RETURN(const int pattern, ReadSize(config, "sliding_window_pattern", kMaxWindow, 6));
  RETURN_IF_ERROR(SetWindows(
      config, window, [&](int layer) { return (layer + 1) % pattern != 0; }, desc));
  RETURN_IF_ERROR(SetGemma3Ropes(config, desc));
  return desc;
}

// --- OPT -------------------------------------------------------------------------------------------------------------

void SetOptNames(ModelDesc& desc) {
  const std::string decoder = "model.decoder.";
  desc.linears = {
      .layers = decoder + "layers",
      .paths = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "", "fc1", "fc2"}};
  desc.names = {.embedding = decoder + "embed_tokens",
                .positions = decoder + "embed_positions",
                .project_in = "",
                .project_out = "",
                .final_norm = decoder + "final_layer_norm",
                .head = "lm_head"};
  if (desc.embedding_width == desc.hidden) return;
  desc.names.project_in = decoder + "project_in";
  desc.names.project_out = decoder + "project_out";
}

absl::StatusOr<ModelDesc> ReadOpt(const Json& config) {
  ASSIGN_OR_RETURN(ModelDesc desc, ReadCommon(config, {.tie_word_embeddings = true, .ffn = "ffn_dim"}));
  ASSIGN_OR_RETURN(desc.embedding_width, ReadSize(config, "word_embed_proj_dim", 1 << 20, desc.hidden));
  ASSIGN_OR_RETURN(desc.activation, ReadActivation(config, "activation_function", "relu"));
  RETURN_IF_ERROR(RequireField(config, "layer_norm_elementwise_affine", true));
  desc.norm = NormKind::kLayer;
  desc.norm_eps = 1e-5f;  // torch.nn.LayerNorm's
  desc.gated = false;
  desc.position_offset = 2;
  SetOptNames(desc);
  ASSIGN_OR_RETURN(const bool before, JsonGet<bool>(config, "do_layer_norm_before", true));
  const std::string attention_norm = "self_attn_layer_norm", mlp_norm = "final_layer_norm";
  if (before) {
    desc.attention_norms = {.in = attention_norm, .out = "", .after = ""};
    desc.mlp_norms = {.in = mlp_norm, .out = "", .after = ""};
  } else {
    desc.attention_norms = {.in = "", .out = "", .after = attention_norm};
    desc.mlp_norms = {.in = "", .out = "", .after = mlp_norm};
  }
  ASSIGN_OR_RETURN(const bool no_final_norm, JsonGet<bool>(config, "_remove_final_layer_norm", false));
  if (!before || no_final_norm) desc.names.final_norm.clear();
  ASSIGN_OR_RETURN(const bool biases, JsonGet<bool>(config, "enable_bias", true));
  desc.biases.fill(biases);
  return desc;
}

// --- the table -------------------------------------------------------------------------------------------------------

struct Family {
  std::string_view model_type, architecture;
  absl::StatusOr<ModelDesc> (*read)(const Json& config);
};

constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", ReadLlama},         {"mistral", "MistralForCausalLM", ReadMistral},
    {"qwen2", "Qwen2ForCausalLM", ReadQwen2},         {"qwen3", "Qwen3ForCausalLM", ReadQwen3},
    {"mixtral", "MixtralForCausalLM", ReadMixtral},   {"qwen3_moe", "Qwen3MoeForCausalLM", ReadQwen3Moe},
    {"gemma", "GemmaForCausalLM", ReadGemma1},        {"gemma2", "Gemma2ForCausalLM", ReadGemma2},
    {"gemma3_text", "Gemma3ForCausalLM", ReadGemma3}, {"opt", "OPTForCausalLM", ReadOpt},
};

std::string KnownNames(std::string_view Family::*name) {
  std::string names;
  for (const Family& family : kFamilies) absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(family.*name));
  return names;
}

// The family that a field's value names.
absl::StatusOr<const Family*> FindFamily(const char* field, const Json& value, std::string_view Family::*name) {
  for (const Family& family : kFamilies) {
    if (value == std::string(family.*name)) return &family;
  }
  return RefuseField(field, value, absl::StrCat("one of ", KnownNames(name)));
}

}  // namespace

absl::StatusOr<ModelDesc> ReadFamily(const Json& config) {
  const Json& architectures = FieldOf(config, "architectures");
  const Json& model_type = FieldOf(config, "model_type");
  if (architectures.is_null() && model_type.is_null()) {
    return absl::InvalidArgumentError(
        absl::StrCat("architectures is missing, want one of ", KnownNames(&Family::architecture)));
  }
  const Family* family = nullptr;
  if (!architectures.is_null()) {
    if (!architectures.is_array() || architectures.size() != 1) {
      return RefuseField("architectures", architectures, "one architecture");
    }
    ASSIGN_OR_RETURN(family, FindFamily("architectures", architectures[0], &Family::architecture));
  }
  if (!model_type.is_null()) {
    ASSIGN_OR_RETURN(const Family* typed, FindFamily("model_type", model_type, &Family::model_type));
    if (family != nullptr && typed != family) {
      return RefuseField("model_type", model_type, std::string(family->model_type));
    }
    family = typed;
  }
  return family->read(config);
}

}  // namespace tandem
