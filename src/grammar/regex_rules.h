// Regular expressions: the part that ECMAScript and Python share and that is regular. docs/structured-output.md
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

// The whole text must match; '^' and '$' may stand at the ends of the expression's alternatives. INVALID_ARGUMENT names
// what is wrong or not regular (lookaround, back references ...), with its column.
// kSearch: a match anywhere in the text is enough, as where ECMAScript tests an expression; anchors then bind an
// alternative to the text's ends.
enum class RegexMatch { kWhole, kSearch };
absl::StatusOr<Rules> ParseRegex(std::string_view pattern, RegexMatch match = RegexMatch::kWhole);

}  // namespace tandem::grammar
