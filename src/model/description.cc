#include "model/description.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr char kArchitecture[] = "LlamaForCausalLM";
constexpr size_t kMaxConfigBytes = 10'000'000;

// Far above any model, and low enough that products of two sizes stay far from 2^63.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxContext = 1 << 30;

absl::Status Refuse(std::string_view field, const Json& value, std::string_view want) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is ", DescribeJson(value), ", want ", std::string(want)));
}

// config[key], or null.
const Json& At(const Json& config, const char* key) {
  static const Json kNull;
  const auto found = config.find(key);
  return found == config.end() ? kNull : *found;
}

absl::StatusOr<int> ReadSize(const Json& config, const char* key, int64_t most, std::optional<int64_t> fallback = {}) {
  ASSIGN_OR_RETURN(const int64_t size, JsonGet<int64_t>(config, key, fallback));
  if (size >= 1 && size <= most) return static_cast<int>(size);
  return absl::InvalidArgumentError(absl::StrCat(key, " is ", size, ", want from 1 to ", most));
}

absl::StatusOr<double> ReadPositive(const Json& config, const char* key, double fallback) {
  ASSIGN_OR_RETURN(const double value, JsonGet<double>(config, key, fallback));
  if (std::isfinite(value) && value > 0) return value;
  return Refuse(key, config.at(key), "a finite number > 0");
}

absl::Status CheckArchitecture(const Json& config) {
  const Json& architectures = At(config, "architectures");
  const Json& model_type = At(config, "model_type");
  if (architectures.is_null() && model_type.is_null()) {
    return absl::InvalidArgumentError(absl::StrCat("architectures is missing, want [\"", kArchitecture, "\"]"));
  }
  if (!architectures.is_null()) {
    if (!architectures.is_array() || architectures.size() != 1) {
      return Refuse("architectures", architectures, absl::StrCat("[\"", kArchitecture, "\"]"));
    }
    if (architectures[0] != kArchitecture) return Refuse("architectures", architectures[0], kArchitecture);
  }
  if (!model_type.is_null() && model_type != "llama") return Refuse("model_type", model_type, "llama");
  return absl::OkStatus();
}

// Fields that change the computation in ways that Tandem does not run. Absent, null and the value that changes nothing
// pass.
absl::Status CheckUnsupported(const Json& config) {
  for (const char* key : {"attention_bias", "mlp_bias", "is_encoder_decoder", "add_cross_attention"}) {
    if (const Json& value = At(config, key); !value.is_null() && value != false) return Refuse(key, value, "false");
  }
  for (const char* key : {"quantization_config", "sliding_window"}) {
    if (const Json& value = At(config, key); !value.is_null()) return Refuse(key, value, "null");
  }
  if (const Json& act = At(config, "hidden_act"); !act.is_null() && act != "silu") {
    return Refuse("hidden_act", act, "silu");
  }
  if (const Json& tp = At(config, "pretraining_tp"); !tp.is_null() && tp != 1) return Refuse("pretraining_tp", tp, "1");
  if (const Json& part = At(config, "partial_rotary_factor"); !part.is_null() && part != 1.0) {
    return Refuse("partial_rotary_factor", part, "1");
  }
  return absl::OkStatus();
}

// rope_scaling (transformers 4) or rope_parameters (transformers 5): null, or an object of type "default".
absl::Status CheckRopeType(const Json& config, const char* key) {
  const Json& rope = At(config, key);
  if (rope.is_null()) return absl::OkStatus();
  if (!rope.is_object()) return Refuse(key, rope, "null or an object");
  for (const char* type_key : {"rope_type", "type"}) {
    if (const Json& type = At(rope, type_key); !type.is_null() && type != "default") {
      return Refuse(absl::StrCat(key, ".", type_key), type, "default");
    }
  }
  if (const Json& part = At(rope, "partial_rotary_factor"); !part.is_null() && part != 1.0) {
    return Refuse(absl::StrCat(key, ".partial_rotary_factor"), part, "1");
  }
  if (const Json& factor = At(rope, "factor"); !factor.is_null() && factor != 1.0) {
    return Refuse(absl::StrCat(key, ".factor"), factor, "1");
  }
  return absl::OkStatus();
}

absl::StatusOr<double> ReadRopeTheta(const Json& config) {
  constexpr double kDefault = 10000.0;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {  // as transformers: the newer place wins
    RETURN_IF_ERROR(CheckRopeType(config, key));
    const Json& rope = At(config, key);
    if (!At(rope, "rope_theta").is_null()) {
      const absl::StatusOr<double> theta = ReadPositive(rope, "rope_theta", kDefault);
      return theta.ok() ? theta : absl::StatusOr<double>(Annotate(theta.status(), key));
    }
  }
  return ReadPositive(config, "rope_theta", kDefault);
}

absl::StatusOr<DType> ReadDType(const Json& config) {
  const char* key = At(config, "dtype").is_null() ? "torch_dtype" : "dtype";
  ASSIGN_OR_RETURN(const std::string name, JsonGet<std::string>(config, key, "float32"));
  if (name == "float32") return DType::kF32;
  if (name == "bfloat16") return DType::kBf16;
  if (name == "float16") return DType::kF16;
  return Refuse(key, config.at(key), "float32, bfloat16 or float16");
}

// null, an id, or an array of ids.
absl::StatusOr<std::vector<int32_t>> ReadTokenIds(const Json& config, const char* key, int vocab) {
  const Json& value = At(config, key);
  std::vector<int32_t> ids;
  if (value.is_null()) return ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= vocab) {
      return Refuse(key, id, absl::StrCat("a token id from 0 to ", vocab - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::Status ReadHeads(const Json& config, ModelDesc& desc) {
  ASSIGN_OR_RETURN(desc.num_heads, ReadSize(config, "num_attention_heads", kMaxSize));
  ASSIGN_OR_RETURN(desc.num_kv_heads, ReadSize(config, "num_key_value_heads", kMaxSize, desc.num_heads));
  if (desc.num_heads % desc.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_key_value_heads is ", desc.num_kv_heads,
                                                   ", want a divisor of num_attention_heads ", desc.num_heads));
  }
  if (At(config, "head_dim").is_null() && desc.hidden % desc.num_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads is ", desc.num_heads,
                                                   ", want a divisor of hidden_size ", desc.hidden,
                                                   " where head_dim is not given"));
  }
  ASSIGN_OR_RETURN(desc.head_dim, ReadSize(config, "head_dim", kMaxSize, desc.hidden / desc.num_heads));
  if (desc.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim is ", desc.head_dim, ", want an even number"));
  }
  if (static_cast<int64_t>(desc.num_heads) * desc.head_dim > kMaxSize) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads * head_dim is ", desc.num_heads, " * ",
                                                   desc.head_dim, ", want at most ", kMaxSize));
  }
  return absl::OkStatus();
}

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
  RETURN_IF_ERROR(CheckArchitecture(config));
  RETURN_IF_ERROR(CheckUnsupported(config));
  ModelDesc desc;
  ASSIGN_OR_RETURN(desc.hidden, ReadSize(config, "hidden_size", kMaxSize));
  ASSIGN_OR_RETURN(desc.ffn, ReadSize(config, "intermediate_size", kMaxSize));
  ASSIGN_OR_RETURN(desc.num_layers, ReadSize(config, "num_hidden_layers", kMaxLayers));
  RETURN_IF_ERROR(ReadHeads(config, desc));
  ASSIGN_OR_RETURN(desc.vocab, ReadSize(config, "vocab_size", kMaxVocab));
  ASSIGN_OR_RETURN(desc.max_context, ReadSize(config, "max_position_embeddings", kMaxContext));
  ASSIGN_OR_RETURN(const double epsilon, ReadPositive(config, "rms_norm_eps", 1e-6));
  desc.rms_norm_eps = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(desc.rope_theta, ReadRopeTheta(config));
  ASSIGN_OR_RETURN(desc.tie_word_embeddings, JsonGet<bool>(config, "tie_word_embeddings", false));
  ASSIGN_OR_RETURN(desc.dtype, ReadDType(config));
  ASSIGN_OR_RETURN(desc.eos_token_ids, ReadTokenIds(config, "eos_token_id", desc.vocab));
  ASSIGN_OR_RETURN(const std::vector<int32_t> bos, ReadTokenIds(config, "bos_token_id", desc.vocab));
  if (bos.size() > 1) return Refuse("bos_token_id", At(config, "bos_token_id"), "one token id");
  if (!bos.empty()) desc.bos_token_id = bos[0];
  return desc;
}

LinearShapes ModelDesc::linear_shapes() const {
  LinearShapes shapes;
  shapes.num_layers = num_layers;
  const auto set = [&](LinearKind kind, int64_t in, int64_t out) { shapes.dims[static_cast<int>(kind)] = {in, out}; };
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
  int64_t layer = 2 * static_cast<int64_t>(hidden);  // both norms
  for (const LinearDims& dims : linear_shapes().dims) layer += dims.in * dims.out;
  const int64_t embedding = static_cast<int64_t>(vocab) * hidden;
  return num_layers * layer + hidden + (tie_word_embeddings ? 1 : 2) * embedding;
}

}  // namespace tandem
