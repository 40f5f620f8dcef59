// The expression half of Jinja's grammar, loosest binding first: if-else, or, and, not, comparisons, + -, ~, * / // %,
// **, unary, then calls, subscripts, filters and tests.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/token_stream.h"

namespace tandem::jinja {

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
  Parsed CallOf(ExpressionPtr function);
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
