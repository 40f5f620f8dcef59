// The ropes of a config.json, with the defaults of transformers (modeling_rope_utils.py).
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/config_reader.h"

namespace tandem {
namespace {

absl::StatusOr<RopeScaling> ReadScaling(const Json& rope, const std::string& name) {
  for (const char* key : {"rope_type", "type"}) {
    const Json& type = FieldOf(rope, key);
    if (type.is_null()) continue;
    if (type == "default") return RopeScaling::kNone;
    if (type == "linear") return RopeScaling::kLinear;
    if (type == "dynamic") return RopeScaling::kDynamic;
    if (type == "llama3") return RopeScaling::kLlama3;
    if (type == "yarn") return RopeScaling::kYarn;
    if (type == "longrope" || type == "su") return RopeScaling::kLong;
    return RefuseField(absl::StrCat(name, ".", key), type, "default, linear, dynamic, llama3, yarn or longrope");
  }
  if (const Json& factor = FieldOf(rope, "factor"); !factor.is_null() && factor != 1.0) {
    return RefuseField(absl::StrCat(name, ".factor"), factor, "a rope_type beside it");
  }
  return RopeScaling::kNone;
}

absl::StatusOr<std::vector<double>> ReadFactors(const Json& rope, const char* key, size_t count) {
  const Json& value = FieldOf(rope, key);
  if (!value.is_array() || value.size() != count) return RefuseField(key, value, absl::StrCat(count, " numbers"));
  std::vector<double> factors;
  for (const Json& factor : value) {
    if (!factor.is_number() || !(factor.get<double>() > 0)) return RefuseField(key, factor, "numbers > 0");
    factors.push_back(factor.get<double>());
  }
  return factors;
}

double YarnScale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

absl::Status ReadYarn(const Json& rope, RopeDesc& desc) {
  ASSIGN_OR_RETURN(desc.beta_fast, ReadPositive(rope, "beta_fast", 32));
  ASSIGN_OR_RETURN(desc.beta_slow, ReadPositive(rope, "beta_slow", 1));
  ASSIGN_OR_RETURN(desc.truncate, JsonGet<bool>(rope, "truncate", true));
  double scale = YarnScale(desc.factor, 1);
  if (!FieldOf(rope, "mscale").is_null() && !FieldOf(rope, "mscale_all_dim").is_null()) {
    ASSIGN_OR_RETURN(const double mscale, ReadPositive(rope, "mscale", {}));
    ASSIGN_OR_RETURN(const double all, ReadPositive(rope, "mscale_all_dim", {}));
    scale = YarnScale(desc.factor, mscale) / YarnScale(desc.factor, all);
  }
  ASSIGN_OR_RETURN(desc.attention_factor, ReadPositive(rope, "attention_factor", scale));
  return absl::OkStatus();
}

absl::Status ReadLong(const Json& rope, int head_dim, RopeDesc& desc) {
  ASSIGN_OR_RETURN(desc.short_factors, ReadFactors(rope, "short_factor", head_dim / 2));
  ASSIGN_OR_RETURN(desc.long_factors, ReadFactors(rope, "long_factor", head_dim / 2));
  const double scale = desc.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(desc.factor) / std::log(desc.original_context));
  ASSIGN_OR_RETURN(desc.attention_factor, ReadPositive(rope, "attention_factor", scale));
  return absl::OkStatus();
}

absl::Status ReadLlama3(const Json& rope, RopeDesc& desc) {
  ASSIGN_OR_RETURN(desc.low_freq_factor, ReadPositive(rope, "low_freq_factor", {}));
  ASSIGN_OR_RETURN(desc.high_freq_factor, ReadPositive(rope, "high_freq_factor", {}));
  if (desc.high_freq_factor > desc.low_freq_factor) return absl::OkStatus();
  return RefuseField("high_freq_factor", FieldOf(rope, "high_freq_factor"), "more than low_freq_factor");
}

absl::Status ReadScalingFields(const Json& rope, const ModelDesc& model, RopeDesc& desc) {
  const bool must_say_original = desc.scaling == RopeScaling::kLlama3;
  ASSIGN_OR_RETURN(desc.original_context,
                   ReadPositive(rope, "original_max_position_embeddings",
                                must_say_original ? std::optional<double>() : model.max_context));
  // transformers' dynamic scaling begins at max_position_embeddings, whatever else the config says.
  if (desc.scaling == RopeScaling::kDynamic) desc.original_context = model.max_context;
  const bool may_leave_factor = desc.scaling == RopeScaling::kYarn || desc.scaling == RopeScaling::kLong;
  const std::optional<double> implied = model.max_context / desc.original_context;
  ASSIGN_OR_RETURN(desc.factor, ReadPositive(rope, "factor", may_leave_factor ? implied : std::nullopt));
  switch (desc.scaling) {
    case RopeScaling::kLlama3:
      return ReadLlama3(rope, desc);
    case RopeScaling::kYarn:
      return ReadYarn(rope, desc);
    case RopeScaling::kLong:
      return ReadLong(rope, model.head_dim, desc);
    case RopeScaling::kNone:
    case RopeScaling::kLinear:
    case RopeScaling::kDynamic:
      break;
  }
  return absl::OkStatus();
}

// Positions that the rope is made for. As serving engines have it: linear and dynamic stretch max_position_embeddings,
// yarn the original context; llama3 and longrope configs already state the whole.
int ContextOf(const RopeDesc& rope, int max_context) {
  double context = max_context;
  if (rope.scaling == RopeScaling::kLinear || rope.scaling == RopeScaling::kDynamic) context *= rope.factor;
  if (rope.scaling == RopeScaling::kYarn) context = std::max(context, rope.original_context * rope.factor);
  return static_cast<int>(std::min(context, static_cast<double>(1 << 30)));
}

}  // namespace

absl::StatusOr<RopeDesc> ReadRopeObject(const Json& rope, const std::string& name, double theta,
                                        const ModelDesc& desc) {
  RopeDesc result;
  result.theta = theta;
  if (rope.is_null()) return result;
  if (!rope.is_object()) return RefuseField(name, rope, "null or an object");
  if (const Json& part = FieldOf(rope, "partial_rotary_factor"); !part.is_null() && part != 1.0) {
    return RefuseField(absl::StrCat(name, ".partial_rotary_factor"), part, "1");
  }
  ASSIGN_OR_RETURN(result.scaling, ReadScaling(rope, name));
  const absl::StatusOr<double> own_theta = ReadPositive(rope, "rope_theta", theta);
  if (!own_theta.ok()) return Annotate(own_theta.status(), name);
  result.theta = *own_theta;
  if (result.scaling != RopeScaling::kNone) {
    RETURN_IF_ERROR(Annotate(ReadScalingFields(rope, desc, result), name));
  }
  return result;
}

absl::Status ReadRope(const Json& config, ModelDesc& desc) {
  ASSIGN_OR_RETURN(const double theta, ReadPositive(config, "rope_theta", 10000.0));
  const bool newer = !FieldOf(config, "rope_parameters").is_null();  // as transformers: the newer place wins
  const std::string name = newer ? "rope_parameters" : "rope_scaling";
  ASSIGN_OR_RETURN(const RopeDesc rope, ReadRopeObject(FieldOf(config, name), name, theta, desc));
  desc.ropes = {rope};
  desc.max_context = ContextOf(rope, desc.max_context);
  return absl::OkStatus();
}

}  // namespace tandem
