#include "serve/core/generation_defaults.h"

#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

// The file as a JSON object; an empty one where there is no file.
absl::StatusOr<Json> ReadConfig(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return Json::object();
  if (!text.ok()) return text.status();
  absl::StatusOr<Json> json = ParseJson(*text);
  if (!json.ok()) return Annotate(json.status(), path);
  if (!json->is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", DescribeJson(*json), ", want an object"));
  return json;
}

absl::Status AppendTokenId(const char* field, const Json& value, std::vector<int32_t>& ids) {
  const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 &&
                    value.get<int64_t>() <= std::numeric_limits<int32_t>::max();
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is ", DescribeJson(value), ", want a token id"));
  }
  ids.push_back(value.get<int32_t>());
  return absl::OkStatus();
}

// One id, a list of ids, or null.
absl::StatusOr<std::vector<int32_t>> ReadEosTokenIds(const Json& config) {
  std::vector<int32_t> ids;
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return ids;
  if (!found->is_array()) {
    RETURN_IF_ERROR(AppendTokenId("eos_token_id", *found, ids));
    return ids;
  }
  for (const Json& value : *found) RETURN_IF_ERROR(AppendTokenId("eos_token_id", value, ids));
  return ids;
}

// A list of lists of ids, or null.
absl::StatusOr<std::vector<std::vector<int32_t>>> ReadBadWords(const Json& config) {
  std::vector<std::vector<int32_t>> sequences;
  const auto found = config.find("bad_words_ids");
  if (found == config.end() || found->is_null()) return sequences;
  const auto refuse = [](const Json& got) {
    return absl::InvalidArgumentError(
        absl::StrCat("bad_words_ids has ", DescribeJson(got), ", want a list of lists of token ids, none empty"));
  };
  if (!found->is_array()) return refuse(*found);
  for (const Json& sequence : *found) {
    if (!sequence.is_array() || sequence.empty()) return refuse(sequence);
    std::vector<int32_t>& ids = sequences.emplace_back();
    for (const Json& value : sequence) RETURN_IF_ERROR(AppendTokenId("bad_words_ids", value, ids));
  }
  return sequences;
}

// A number of the configuration that `check` accepts; what stands in `value` where there is none.
absl::Status ReadFloat(const Json& config, const std::string& field, absl::Status (*check)(double), float& value) {
  ASSIGN_OR_RETURN(const double number, JsonGet<double>(config, field, value));
  RETURN_IF_ERROR(check(number));
  value = static_cast<float>(number);
  return absl::OkStatus();
}

absl::Status ReadSampling(const Json& config, GenerationDefaults& defaults) {
  RETURN_IF_ERROR(ReadFloat(config, "temperature", CheckTemperature, defaults.temperature));
  RETURN_IF_ERROR(ReadFloat(config, "top_p", CheckTopP, defaults.top_p));
  RETURN_IF_ERROR(ReadFloat(config, "min_p", CheckMinP, defaults.min_p));
  RETURN_IF_ERROR(ReadFloat(config, "typical_p", CheckTypicalP, defaults.typical_p));
  RETURN_IF_ERROR(ReadFloat(config, "repetition_penalty", CheckRepetitionPenalty, defaults.repetition_penalty));
  ASSIGN_OR_RETURN(const int64_t top_k, JsonGet<int64_t>(config, "top_k", defaults.top_k));
  ASSIGN_OR_RETURN(const bool do_sample, JsonGet<bool>(config, "do_sample", true));
  RETURN_IF_ERROR(CheckRange("top_k", top_k, int64_t{0}, int64_t{std::numeric_limits<int>::max()}));
  if (!do_sample) defaults.temperature = 0.0f;
  defaults.top_k = static_cast<int>(top_k);
  ASSIGN_OR_RETURN(const int64_t min_tokens, JsonGet<int64_t>(config, "min_new_tokens", 0));
  RETURN_IF_ERROR(CheckRange("min_new_tokens", min_tokens, int64_t{0}, int64_t{std::numeric_limits<int>::max()}));
  defaults.min_tokens = static_cast<int>(min_tokens);
  ASSIGN_OR_RETURN(defaults.bad_token_sequences, ReadBadWords(config));
  if (const auto found = config.find("max_new_tokens"); found != config.end() && !found->is_null()) {
    ASSIGN_OR_RETURN(const int64_t max_tokens, JsonGet<int64_t>(config, "max_new_tokens"));
    RETURN_IF_ERROR(CheckRange("max_new_tokens", max_tokens, int64_t{1}, int64_t{std::numeric_limits<int>::max()}));
    defaults.max_tokens = static_cast<int>(max_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::string& directory) {
  GenerationDefaults defaults;
  const std::string generation_path = absl::StrCat(directory, "/generation_config.json");
  ASSIGN_OR_RETURN(const Json generation, ReadConfig(generation_path));
  if (const absl::Status read = ReadSampling(generation, defaults); !read.ok()) return Annotate(read, generation_path);
  absl::StatusOr<std::vector<int32_t>> eos = ReadEosTokenIds(generation);
  if (!eos.ok()) return Annotate(eos.status(), generation_path);
  if (eos->empty()) {
    const std::string config_path = absl::StrCat(directory, "/config.json");
    ASSIGN_OR_RETURN(const Json config, ReadConfig(config_path));
    eos = ReadEosTokenIds(config);
    if (!eos.ok()) return Annotate(eos.status(), config_path);
  }
  defaults.eos_token_ids = *std::move(eos);
  return defaults;
}

}  // namespace tandem
