// Unicode normalization forms (UAX #15). Tables: normalization_tables.py.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` must be valid UTF-8.
std::string NormalizeUnicode(std::string_view text, NormalizationForm form);

}  // namespace tandem
