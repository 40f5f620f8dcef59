// normalizer of tokenizer.json: what happens to text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace tandem {

// Immutable; thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `text` is valid UTF-8. RESOURCE_EXHAUSTED where an expression backtracks without bound.
  virtual absl::StatusOr<std::string> Apply(std::string_view text) const = 0;
};

// INVALID_ARGUMENT names the field, under `path`, that is wrong or not supported.
absl::StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const Json& config, const std::string& path);

}  // namespace tandem
