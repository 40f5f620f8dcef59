// JSON schemas as rules: what they match is JSON that fits the schema. docs/structured-output.md
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

// INVALID_ARGUMENT: not JSON (line and column), or the path of what is wrong or not supported and its name.
absl::StatusOr<Rules> ParseJsonSchema(std::string_view text);

// Any JSON object.
Rules AnyJsonObject();

}  // namespace tandem::grammar
