#include "model/config_reader.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace tandem {
namespace {

// Far above any model, and low enough that products of two sizes stay far from 2^63.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxContext = 1 << 30;

absl::StatusOr<DType> ReadDType(const Json& config) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Json& value = FieldOf(config, key);
    if (value.is_null()) continue;
    if (value == "float32") return DType::kF32;
    if (value == "bfloat16") return DType::kBf16;
    if (value == "float16") return DType::kF16;
    return RefuseField(key, value, "float32, bfloat16 or float16");
  }
  return DType::kF32;
}

absl::StatusOr<std::vector<int32_t>> ReadTokenIds(const Json& config, const char* key, int vocab) {
  const Json& value = FieldOf(config, key);
  std::vector<int32_t> ids;
  if (value.is_null()) return ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= vocab) {
      return RefuseField(key, id, absl::StrCat("a token id from 0 to ", vocab - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::Status ReadHeads(const Json& config, std::optional<int> default_head_dim, ModelDesc& desc) {
  ASSIGN_OR_RETURN(desc.num_heads, ReadSize(config, "num_attention_heads", kMaxSize));
  ASSIGN_OR_RETURN(desc.num_kv_heads, ReadSize(config, "num_key_value_heads", kMaxSize, desc.num_heads));
  if (desc.num_heads % desc.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_key_value_heads is ", desc.num_kv_heads,
                                                   ", want a divisor of num_attention_heads ", desc.num_heads));
  }
  if (!default_head_dim && FieldOf(config, "head_dim").is_null() && desc.hidden % desc.num_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads is ", desc.num_heads,
                                                   ", want a divisor of hidden_size ", desc.hidden,
                                                   " where head_dim is not given"));
  }
  ASSIGN_OR_RETURN(desc.head_dim, ReadSize(config, "head_dim", kMaxSize,
                                           default_head_dim.value_or(std::max(1, desc.hidden / desc.num_heads))));
  if (desc.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim is ", desc.head_dim, ", want an even number"));
  }
  if (static_cast<int64_t>(desc.num_heads) * desc.head_dim > kMaxSize) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads * head_dim is ", desc.num_heads, " * ",
                                                   desc.head_dim, ", want at most ", kMaxSize));
  }
  desc.attention_scale = 1.0f / std::sqrt(static_cast<float>(desc.head_dim));
  return absl::OkStatus();
}

// Fields that change the computation of any family in ways that Tandem does not run.
absl::Status CheckUnsupported(const Json& config) {
  for (const char* key : {"is_encoder_decoder", "add_cross_attention"}) {
    RETURN_IF_ERROR(RequireField(config, key, false));
  }
  RETURN_IF_ERROR(RequireField(config, "quantization_config", nullptr));
  RETURN_IF_ERROR(RequireField(config, "pretraining_tp", 1));
  return RequireField(config, "partial_rotary_factor", 1.0);
}

}  // namespace

absl::Status RefuseField(std::string_view field, const Json& value, std::string_view want) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is ", DescribeJson(value), ", want ", std::string(want)));
}

const Json& FieldOf(const Json& config, std::string_view key) {
  static const Json kNull;
  const auto found = config.find(std::string(key));
  return found == config.end() ? kNull : *found;
}

absl::StatusOr<int> ReadSize(const Json& config, const char* key, int64_t most, std::optional<int64_t> fallback) {
  if (fallback && FieldOf(config, key).is_null()) return static_cast<int>(*fallback);
  ASSIGN_OR_RETURN(const int64_t size, JsonGet<int64_t>(config, key, fallback));
  if (size >= 1 && size <= most) return static_cast<int>(size);
  return absl::InvalidArgumentError(absl::StrCat(key, " is ", size, ", want from 1 to ", most));
}

absl::StatusOr<double> ReadPositive(const Json& config, const char* key, std::optional<double> fallback) {
  if (fallback && FieldOf(config, key).is_null()) return *fallback;
  ASSIGN_OR_RETURN(const double value, JsonGet<double>(config, key, fallback));
  if (std::isfinite(value) && value > 0) return value;
  return RefuseField(key, config.at(key), "a finite number > 0");
}

absl::Status RequireField(const Json& config, const char* key, const Json& wanted) {
  const Json& value = FieldOf(config, key);
  if (value.is_null() || value == wanted) return absl::OkStatus();
  return RefuseField(key, value, wanted.dump());
}

absl::StatusOr<ModelDesc> ReadCommon(const Json& config, const CommonDefaults& defaults) {
  RETURN_IF_ERROR(CheckUnsupported(config));
  ModelDesc desc;
  ASSIGN_OR_RETURN(desc.hidden, ReadSize(config, "hidden_size", kMaxSize));
  desc.embedding_width = desc.hidden;
  ASSIGN_OR_RETURN(desc.ffn, ReadSize(config, defaults.ffn, kMaxSize));
  ASSIGN_OR_RETURN(desc.num_layers, ReadSize(config, "num_hidden_layers", kMaxLayers));
  desc.layers.resize(desc.num_layers);
  RETURN_IF_ERROR(ReadHeads(config, defaults.head_dim, desc));
  ASSIGN_OR_RETURN(desc.vocab, ReadSize(config, "vocab_size", kMaxVocab));
  ASSIGN_OR_RETURN(desc.max_context, ReadSize(config, "max_position_embeddings", kMaxContext));
  ASSIGN_OR_RETURN(desc.tie_word_embeddings,
                   JsonGet<bool>(config, "tie_word_embeddings", defaults.tie_word_embeddings));
  ASSIGN_OR_RETURN(desc.dtype, ReadDType(config));
  ASSIGN_OR_RETURN(desc.eos_token_ids, ReadTokenIds(config, "eos_token_id", desc.vocab));
  ASSIGN_OR_RETURN(const std::vector<int32_t> bos, ReadTokenIds(config, "bos_token_id", desc.vocab));
  if (bos.size() > 1) return RefuseField("bos_token_id", FieldOf(config, "bos_token_id"), "one token id");
  if (!bos.empty()) desc.bos_token_id = bos[0];
  return desc;
}

absl::StatusOr<Activation> ReadActivation(const Json& config, const char* key, const char* fallback) {
  const Json& value = FieldOf(config, key).is_null() ? Json(fallback) : FieldOf(config, key);
  if (value == "silu" || value == "swish") return Activation::kSilu;
  if (value == "gelu_pytorch_tanh" || value == "gelu_new" || value == "gelu_fast") return Activation::kGeluTanh;
  if (value == "gelu") return Activation::kGelu;
  if (value == "relu") return Activation::kRelu;
  return RefuseField(key, value, "silu, gelu, gelu_pytorch_tanh or relu");
}

}  // namespace tandem
