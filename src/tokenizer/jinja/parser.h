// Jinja's grammar: tokens to syntax tree. What a chat template cannot have (include, extends ...) is refused by name.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/ast.h"

namespace tandem::jinja {

struct ParsedTemplate {
  Block body;
  bool has_generation = false;
};

// INVALID_ARGUMENT with line and column.
absl::StatusOr<ParsedTemplate> Parse(std::string_view source);

}  // namespace tandem::jinja
