// The escapes of a string literal in a template: those of Python's unicode-escape codec.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem::jinja {

// What stands between the quotes, decoded. INVALID_ARGUMENT for a broken \x, \u or \U.
absl::StatusOr<std::string> DecodeStringLiteral(std::string_view literal);

}  // namespace tandem::jinja
