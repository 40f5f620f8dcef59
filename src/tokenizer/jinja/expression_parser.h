// The expression half of Jinja's grammar, loosest binding first: if-else, or, and, not, comparisons, + -, ~, * / // %,
// **, unary, then calls, subscripts, filters and tests.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/ast.h"

namespace tandem::jinja {

// A walk over the tokens of a template.
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

// Parses one expression.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* tokens) : tokens_(*tokens) {}

  using Parsed = absl::StatusOr<ExpressionPtr>;
  Parsed Expression();          // with if-else
  Parsed WithoutConditional();  // up to `or`
  // One expression, or several between commas as a tuple.
  Parsed TupleOrExpression(bool with_conditional);
  // A chain of filters without a value: {% filter upper | trim %}.
  Parsed FilterChain();
  // name, namespace.attribute or a tuple of names.
  absl::StatusOr<Target> AssignmentTarget(bool allows_attribute);
  absl::StatusOr<CallArguments> Arguments();  // from '(' to ')'

 private:
  Parsed Or();
  Parsed And();
  Parsed Not();
  Parsed Comparison();
  Parsed Sum();
  Parsed Concatenation();
  Parsed Product();
  Parsed Power();
  Parsed Unary(bool with_filters);
  Parsed Primary();
  Parsed Postfix(ExpressionPtr value);
  Parsed FiltersAndTests(ExpressionPtr value);
  Parsed Subscript(ExpressionPtr value);
  Parsed Dot(ExpressionPtr value);
  Parsed Filter(ExpressionPtr value);
  Parsed Test(ExpressionPtr value);
  Parsed Parenthesized();
  Parsed List();
  Parsed Dict();
  Parsed Number();
  absl::StatusOr<std::string> DottedName();
  bool EndsTuple() const;

  absl::Status CountOperator();

  TokenStream& tokens_;
  int depth_ = 0;  // of nesting
  int operators_ = 0;
};

}  // namespace tandem::jinja
