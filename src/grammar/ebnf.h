// Grammars as text, in the notation of llama.cpp's GBNF: docs/structured-output.md.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

// INVALID_ARGUMENT with line and column, or the name of an undefined rule. The text begins at rule `root`.
absl::StatusOr<Rules> ParseEbnf(std::string_view text);

}  // namespace tandem::grammar
