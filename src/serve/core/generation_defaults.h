// What a model directory says about generation: sampling values and end tokens that a request does not bring itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

struct GenerationDefaults {
  float temperature = 1.0f;
  int top_k = 0;  // off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;
  int min_tokens = 0;
  std::vector<std::vector<int32_t>> bad_token_sequences;  // of requests that bring no bad words of their own
  std::optional<int> max_tokens;                          // unset: 256, or what the context leaves where that is less
  std::vector<int32_t> eos_token_ids;
};

// Reads `directory`/generation_config.json: temperature, top_k, top_p, min_p, typical_p, repetition_penalty,
// min_new_tokens, max_new_tokens, bad_words_ids, eos_token_id, and an explicit "do_sample": false as temperature 0.
// Fields it lacks keep the values above; eos_token_id then comes from config.json. Either file may be missing.
// INVALID_ARGUMENT names file, field and value.
absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::string& directory);

}  // namespace tandem
