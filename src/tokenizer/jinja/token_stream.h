// A walk over the tokens of a template.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/lexer.h"

namespace tandem::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  const Token& Current() const { return tokens_[at_]; }
  const Token& Next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool TakeOperator(std::string_view op);
  bool TakeName(std::string_view name);
  absl::Status ExpectOperator(std::string_view op);
  absl::Status ExpectName(std::string_view name);
  absl::StatusOr<std::string> ExpectIdentifier();
  size_t position() const { return at_; }
  // Does `name` stand between `begin` and here?
  bool Mentions(size_t begin, std::string_view name) const;
  // INVALID_ARGUMENT "line 1, column 2: got ')', want an expression".
  absl::Status Unexpected(std::string_view want) const;

 private:
  std::vector<Token> tokens_;  // ends with kEnd
  size_t at_ = 0;
};

}  // namespace tandem::jinja
