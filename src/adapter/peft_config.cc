#include "adapter/peft_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace tandem {
namespace {

// Fields that are read below, or that change nothing once the tensors exist. About all others see CheckUnknown.
constexpr std::string_view kHandled[] = {"peft_type",
                                         "task_type",
                                         "r",
                                         "lora_alpha",
                                         "target_modules",
                                         "use_rslora",
                                         "init_lora_weights",
                                         "auto_mapping",
                                         "eva_config",
                                         "corda_config",
                                         "lora_ga_config",
                                         "layers_pattern",
                                         "inference_mode",
                                         "runtime_config",
                                         "ensure_weight_tying",
                                         "use_dora",
                                         "width",
                                         "activation",
                                         "init_ia3_weights",
                                         "feedforward_modules"};

absl::Status Refuse(std::string_view field, const Json& value, std::string_view want) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is ", DescribeJson(value), ", want ", std::string(want)));
}

const Json& At(const Json& config, const char* key) {
  static const Json kNull;
  const auto found = config.find(key);
  return found == config.end() ? kNull : *found;
}

bool IsEmpty(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty());
}

// peft's features are switched on by `true` or by a filled object or array, and new ones come with every version.
// Numbers and strings tune features: inert where these are off.
absl::Status CheckUnknown(const Json& config) {
  for (const auto& [key, value] : config.items()) {
    if (std::find(std::begin(kHandled), std::end(kHandled), key) != std::end(kHandled)) continue;
    if (value == true) return Refuse(key, value, "false: Tandem does not do that");
    if (value.is_structured() && !value.empty()) return Refuse(key, value, "none: Tandem does not do that");
  }
  for (const char* key : {"exclude_modules", "layers_to_transform"}) {
    if (const Json& value = At(config, key); !IsEmpty(value)) return Refuse(key, value, "null");
  }
  if (const Json& bias = At(config, "bias"); !bias.is_null() && bias != "none") return Refuse("bias", bias, "none");
  return absl::OkStatus();
}

// Some ways to begin (pissa, olora, loftq ...) also change the base weights; their adapters fit no unchanged base.
absl::Status CheckInit(const Json& init) {
  if (init.is_null() || init.is_boolean()) return absl::OkStatus();
  for (const char* harmless : {"gaussian", "eva", "orthogonal"}) {
    if (init == harmless) return absl::OkStatus();
  }
  return Refuse("init_lora_weights", init, "one that leaves the base weights as they are (true, gaussian, ...)");
}

absl::StatusOr<std::optional<std::vector<std::string>>> ReadModules(const Json& config, const char* field) {
  const Json& value = At(config, field);
  if (value.is_string()) return std::nullopt;
  if (!value.is_array() || value.empty()) return Refuse(field, value, "an array of module names");
  std::vector<std::string> names;
  for (const Json& item : value) {
    if (!item.is_string() || item == "") return Refuse(field, item, "module names");
    names.push_back(item.get<std::string>());
  }
  return names;
}

absl::Status ReadRank(const Json& config, const char* field, PeftSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t rank, JsonGet<int64_t>(config, field));
  if (rank < 1 || rank > kMaxRank) return Refuse(field, At(config, field), absl::StrCat("from 1 to ", kMaxRank));
  spec.rank = static_cast<int>(rank);
  return absl::OkStatus();
}

absl::Status ReadLora(const Json& config, PeftSpec& spec) {
  RETURN_IF_ERROR(CheckInit(At(config, "init_lora_weights")));
  RETURN_IF_ERROR(ReadRank(config, "r", spec));
  ASSIGN_OR_RETURN(spec.alpha, JsonGet<double>(config, "lora_alpha"));
  ASSIGN_OR_RETURN(const bool rank_stabilized, JsonGet<bool>(config, "use_rslora", false));
  if (rank_stabilized) spec.scaling = LoraScaling::kRankStabilized;
  if (!std::isfinite(spec.scale())) return Refuse("lora_alpha", At(config, "lora_alpha"), "a number within f32");
  ASSIGN_OR_RETURN(const bool dora, JsonGet<bool>(config, "use_dora", false));
  spec.method = dora ? PeftMethod::kDora : PeftMethod::kLora;
  return absl::OkStatus();
}

absl::Status ReadBottleneck(const Json& config, PeftSpec& spec) {
  spec.method = PeftMethod::kBottleneck;
  RETURN_IF_ERROR(ReadRank(config, "width", spec));
  ASSIGN_OR_RETURN(const std::string name, JsonGet<std::string>(config, "activation"));
  const std::optional<Activation> activation = ParseActivation(name);
  if (!activation.has_value()) return Refuse("activation", At(config, "activation"), kActivationNames);
  spec.activation = *activation;
  return absl::OkStatus();
}

const char* TypeOf(PeftMethod method) {
  switch (method) {
    case PeftMethod::kLora:
    case PeftMethod::kDora:
      break;
    case PeftMethod::kIa3:
      return "IA3";
    case PeftMethod::kBottleneck:
      return "BOTTLENECK";
  }
  return "LORA";
}

Json LoraConfig(const PeftSpec& spec) {
  Json config = {{"r", spec.rank},
                 {"lora_alpha", spec.alpha},
                 {"use_rslora", spec.scaling == LoraScaling::kRankStabilized},
                 {"lora_dropout", 0.0},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"init_lora_weights", true},
                 {"use_dora", spec.method == PeftMethod::kDora},
                 {"modules_to_save", nullptr},
                 {"layers_to_transform", nullptr},
                 {"rank_pattern", Json::object()},
                 {"alpha_pattern", Json::object()}};
  // peft declares lora_alpha an int; some readers insist.
  if (std::abs(spec.alpha) < 1e9 && spec.alpha == std::floor(spec.alpha)) {
    config["lora_alpha"] = static_cast<int64_t>(spec.alpha);
  }
  return config;
}

}  // namespace

absl::StatusOr<PeftConfig> ParsePeftConfig(const Json& config) {
  ASSIGN_OR_RETURN(const std::string type, JsonGet<std::string>(config, "peft_type"));
  if (const Json& task = At(config, "task_type"); !task.is_null() && task != "CAUSAL_LM") {
    return Refuse("task_type", task, "CAUSAL_LM");
  }
  RETURN_IF_ERROR(CheckUnknown(config));
  PeftConfig peft;
  if (type == "LORA") {
    RETURN_IF_ERROR(ReadLora(config, peft.spec));
  } else if (type == "BOTTLENECK") {
    RETURN_IF_ERROR(ReadBottleneck(config, peft.spec));
  } else if (type == "IA3") {
    peft.spec.method = PeftMethod::kIa3;
    peft.feedforward_modules.emplace();
    if (!IsEmpty(At(config, "feedforward_modules"))) {
      ASSIGN_OR_RETURN(peft.feedforward_modules, ReadModules(config, "feedforward_modules"));
    }
  } else {
    return Refuse("peft_type", At(config, "peft_type"), "LORA, IA3 or BOTTLENECK");
  }
  ASSIGN_OR_RETURN(peft.target_modules, ReadModules(config, "target_modules"));
  return peft;
}

Json MakePeftConfig(const PeftSpec& spec, const std::vector<std::string>& target_modules,
                    const std::vector<std::string>& feedforward_modules, const std::string& base_model) {
  Json config = {{"peft_type", TypeOf(spec.method)},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base_model},
                 {"target_modules", target_modules},
                 {"inference_mode", true}};
  switch (spec.method) {
    case PeftMethod::kLora:
    case PeftMethod::kDora:
      config.update(LoraConfig(spec));
      break;
    case PeftMethod::kIa3:
      config["feedforward_modules"] = feedforward_modules;
      config["fan_in_fan_out"] = false;
      config["init_ia3_weights"] = true;
      config["modules_to_save"] = nullptr;
      break;
    case PeftMethod::kBottleneck:
      config["width"] = spec.rank;
      config["activation"] = NameOf(spec.activation);
      break;
  }
  return config;
}

}  // namespace tandem
