// adapter_config.json: what of it Tandem understands, and how it writes its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "adapter/adapter_weights.h"
#include "base/json.h"

namespace tandem {

struct PeftConfig {
  PeftSpec spec;  // without targets and IA3's feedforward: these follow from the tensors
  // Module names as peft matches them: whole, or the end of a name behind a dot. None: target_modules was a pattern,
  // and only the tensors say what it matched.
  std::optional<std::vector<std::string>> target_modules;
  // IA3: the ends of the modules whose input is scaled. None: it was a pattern, and only the tensors' shapes say.
  std::optional<std::vector<std::string>> feedforward_modules;
};

// INVALID_ARGUMENT names the field, what it is and what is wanted: whatever would change the result, and is not done
// here.
absl::StatusOr<PeftConfig> ParsePeftConfig(const Json& config);

// A config that peft loads (a bottleneck's, which peft does not know, is Tandem's own); both lists in peft's sense.
Json MakePeftConfig(const PeftSpec& spec, const std::vector<std::string>& target_modules,
                    const std::vector<std::string>& feedforward_modules, const std::string& base_model);

}  // namespace tandem
