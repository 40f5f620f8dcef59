#include "tokenizer/jinja/token_stream.h"

#include "absl/strings/str_cat.h"

namespace tandem::jinja {

bool TokenStream::TakeOperator(std::string_view op) {
  if (!Current().IsOperator(op)) return false;
  Take();
  return true;
}

bool TokenStream::TakeName(std::string_view name) {
  if (!Current().IsName(name)) return false;
  Take();
  return true;
}

absl::Status TokenStream::ExpectOperator(std::string_view op) {
  return TakeOperator(op) ? absl::OkStatus() : Unexpected(absl::StrCat("'", std::string(op), "'"));
}

absl::Status TokenStream::ExpectName(std::string_view name) {
  return TakeName(name) ? absl::OkStatus() : Unexpected(absl::StrCat("'", std::string(name), "'"));
}

absl::StatusOr<std::string> TokenStream::ExpectIdentifier() {
  if (Current().type != Token::Type::kName) return Unexpected("a name");
  return Take().text;
}

bool TokenStream::Mentions(size_t begin, std::string_view name) const {
  const auto is_name = [name](const Token& token) { return token.IsName(name); };
  return std::any_of(tokens_.begin() + begin, tokens_.begin() + at_, is_name);
}

absl::Status TokenStream::Unexpected(std::string_view want) const {
  return ErrorAt(Current().at, absl::StrCat("got ", Describe(Current()), ", want ", std::string(want)));
}

}  // namespace tandem::jinja
