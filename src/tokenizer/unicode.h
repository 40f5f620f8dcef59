// Unicode properties and case of single characters, as Python's str methods see them. Tables: unicode_tables.py.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

bool IsWhiteSpace(char32_t c);   // the property White_Space (Rust's char::is_whitespace)
bool IsPythonSpace(char32_t c);  // str.isspace: also U+001C to U+001F
bool IsPrintable(char32_t c);
bool IsAlpha(char32_t c);    // categories L*
bool IsDecimal(char32_t c);  // Nd
bool IsDigit(char32_t c);    // Nd, superscripts and the like
bool IsNumeric(char32_t c);  // has a numeric value
bool IsUpper(char32_t c);
bool IsLower(char32_t c);

// Full case mappings. ToLower knows the final sigma, as Python does; LowerCharacters maps each character by itself.
std::string ToLower(std::string_view text);
std::string LowerCharacters(std::string_view text);
std::string ToUpper(std::string_view text);
std::string ToTitle(std::string_view text);        // every word
std::string ToCapitalized(std::string_view text);  // the first character; the rest lower

}  // namespace tandem
