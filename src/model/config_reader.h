// Reading fields of a config.json, with refusals that name the field, what it is and what is wanted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "model/description.h"

namespace tandem {

absl::Status RefuseField(std::string_view field, const Json& value, std::string_view want);

// config[key], or null.
const Json& FieldOf(const Json& config, std::string_view key);

// From 1 to `most`; the fallback where the field is absent or null.
absl::StatusOr<int> ReadSize(const Json& config, const char* key, int64_t most, std::optional<int64_t> fallback = {});
// Finite and above 0.
absl::StatusOr<double> ReadPositive(const Json& config, const char* key, std::optional<double> fallback);

// OK where the field is absent, null or `wanted`.
absl::Status RequireField(const Json& config, const char* key, const Json& wanted);

// What every family spells alike: sizes, heads, vocabulary, context, tokens, dtype. The rope's context comes later.
struct CommonDefaults {
  std::optional<int> head_dim = std::nullopt;  // absent: hidden / heads
  bool tie_word_embeddings = false;
  const char* ffn = "intermediate_size";
};
absl::StatusOr<ModelDesc> ReadCommon(const Json& config, const CommonDefaults& defaults);

absl::StatusOr<Activation> ReadActivation(const Json& config, const char* key, const char* fallback);

// The rope of a config that has one for all layers: rope_parameters (transformers 5) or rope_scaling and rope_theta
// (4). Sets desc.ropes and widens desc.max_context where the scaling stretches it.
absl::Status ReadRope(const Json& config, ModelDesc& desc);
// One rope from its object (or null); `theta` where that has none.
absl::StatusOr<RopeDesc> ReadRopeObject(const Json& rope, const std::string& name, double theta, const ModelDesc& desc);

}  // namespace tandem
