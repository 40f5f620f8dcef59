// Regular expressions: the part that ECMAScript and Python share and that is regular. docs/structured-output.md
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

// The whole text must match; '^' and '$' may stand at the ends of the expression's alternatives. INVALID_ARGUMENT names
// what is wrong or not regular (lookaround, back references ...), with its column.
absl::StatusOr<Rules> ParseRegex(std::string_view pattern);

}  // namespace tandem::grammar
