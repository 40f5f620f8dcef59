// model of tokenizer.json: turns one word of the pre-tokenizer into token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "tokenizer/vocabulary.h"

namespace tandem {

// Immutable; thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of `word`, valid UTF-8.
  virtual absl::Status Tokenize(std::string_view word, std::vector<int32_t>* ids) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

// INVALID_ARGUMENT names the field of `config` (the file's "model") that is wrong or not supported.
absl::StatusOr<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& config);

}  // namespace tandem
