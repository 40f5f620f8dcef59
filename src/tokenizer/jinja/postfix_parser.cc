// What stands behind a value: attributes, subscripts, calls, filters, tests; and what may be assigned to.
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/expression_parser.h"
#include "tokenizer/jinja/parsing.h"

namespace tandem::jinja {

using Parsed = ExpressionParser::Parsed;

Parsed ExpressionParser::Postfix(ExpressionPtr value) {
  while (true) {
    RETURN_IF_ERROR(CountOperator());
    if (tokens_.Current().IsOperator(".")) {
      ASSIGN_OR_RETURN(value, Dot(std::move(value)));
    } else if (tokens_.Current().IsOperator("[")) {
      ASSIGN_OR_RETURN(value, Subscript(std::move(value)));
    } else if (tokens_.Current().IsOperator("(")) {
      ASSIGN_OR_RETURN(value, CallOf(std::move(value)));
    } else {
      return value;
    }
  }
}

Parsed ExpressionParser::CallOf(ExpressionPtr function) {
  const Position at = function->at;
  ASSIGN_OR_RETURN(CallArguments arguments, Arguments());
  return Make(at, Call{std::move(function), std::move(arguments)});
}

Parsed ExpressionParser::Dot(ExpressionPtr value) {
  tokens_.Take();
  const Position at = tokens_.Current().at;
  if (tokens_.Current().type == Token::Type::kInteger) {
    ASSIGN_OR_RETURN(ExpressionPtr key, Number());
    return Make(at, Item{std::move(value), std::move(key)});
  }
  ASSIGN_OR_RETURN(std::string name, tokens_.ExpectIdentifier());
  return Make(at, Attribute{std::move(value), std::move(name)});
}

Parsed ExpressionParser::Subscript(ExpressionPtr value) {
  const Position at = tokens_.Take().at;
  ExpressionPtr bounds[3];
  int colons = 0;
  TupleLiteral keys;
  while (!tokens_.Current().IsOperator("]")) {
    if (tokens_.TakeOperator(":")) {
      if (++colons > 2) return tokens_.Unexpected("']'");
    } else if (tokens_.Current().IsOperator(",") && colons == 0 && bounds[0] != nullptr) {
      tokens_.Take();
      keys.items.push_back(std::move(bounds[0]));
    } else if (bounds[colons] != nullptr) {
      return tokens_.Unexpected("']'");
    } else {
      ASSIGN_OR_RETURN(bounds[colons], Expression());
    }
  }
  if (colons == 0 && bounds[0] == nullptr && keys.items.empty()) return tokens_.Unexpected("a subscript");
  tokens_.Take();
  if (colons > 0) {
    if (!keys.items.empty()) return ErrorAt(at, "slices of several dimensions are not supported");
    return Make(at, Slice{std::move(value), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2])});
  }
  if (keys.items.empty()) return Make(at, Item{std::move(value), std::move(bounds[0])});
  if (bounds[0] != nullptr) keys.items.push_back(std::move(bounds[0]));
  return Make(at, Item{std::move(value), Make(at, std::move(keys))});
}

absl::StatusOr<CallArguments> ExpressionParser::Arguments() {
  RETURN_IF_ERROR(tokens_.ExpectOperator("("));
  CallArguments arguments;
  bool first = true;
  while (!tokens_.TakeOperator(")")) {
    if (!first) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    first = false;
    if (tokens_.TakeOperator(")")) break;
    if (tokens_.TakeOperator("**")) {
      ASSIGN_OR_RETURN(arguments.double_star, Expression());
    } else if (tokens_.TakeOperator("*")) {
      ASSIGN_OR_RETURN(arguments.star, Expression());
    } else if (tokens_.Current().type == Token::Type::kName && tokens_.Next().IsOperator("=")) {
      std::string name = tokens_.Take().text;
      tokens_.Take();
      ASSIGN_OR_RETURN(ExpressionPtr value, Expression());
      arguments.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!arguments.named.empty()) return tokens_.Unexpected("a named argument: positional ones come first");
      ASSIGN_OR_RETURN(arguments.positional.emplace_back(), Expression());
    }
  }
  return arguments;
}

Parsed ExpressionParser::FiltersAndTests(ExpressionPtr value) {
  while (true) {
    RETURN_IF_ERROR(CountOperator());
    if (tokens_.Current().IsOperator("|")) {
      ASSIGN_OR_RETURN(value, Filter(std::move(value)));
    } else if (tokens_.Current().IsName("is")) {
      ASSIGN_OR_RETURN(value, Test(std::move(value)));
    } else if (tokens_.Current().IsOperator("(")) {
      ASSIGN_OR_RETURN(value, CallOf(std::move(value)));
    } else {
      return value;
    }
  }
}

absl::StatusOr<std::string> ExpressionParser::DottedName() {
  ASSIGN_OR_RETURN(std::string name, tokens_.ExpectIdentifier());
  while (tokens_.TakeOperator(".")) {
    ASSIGN_OR_RETURN(const std::string part, tokens_.ExpectIdentifier());
    name += "." + part;
  }
  return name;
}

Parsed ExpressionParser::Filter(ExpressionPtr value) {
  tokens_.Take();
  struct Filter filter;
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(filter.name, DottedName());
  if (tokens_.Current().IsOperator("(")) {
    ASSIGN_OR_RETURN(filter.arguments, Arguments());
  }
  filter.value = std::move(value);
  return Make(at, std::move(filter));
}

Parsed ExpressionParser::FilterChain() {
  struct Filter filter;
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(filter.name, DottedName());
  if (tokens_.Current().IsOperator("(")) {
    ASSIGN_OR_RETURN(filter.arguments, Arguments());
  }
  ExpressionPtr chain = Make(at, std::move(filter));
  while (tokens_.Current().IsOperator("|")) {
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(chain, Filter(std::move(chain)));
  }
  return chain;
}

Parsed ExpressionParser::Test(ExpressionPtr value) {
  tokens_.Take();
  struct Test test;
  test.negated = tokens_.TakeName("not");
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(test.name, DottedName());
  const Token& next = tokens_.Current();
  const bool starts_value = next.type == Token::Type::kName || next.type == Token::Type::kString ||
                            next.type == Token::Type::kInteger || next.type == Token::Type::kFloat ||
                            next.IsOperator("[") || next.IsOperator("{");
  const bool is_keyword = next.IsName("else") || next.IsName("or") || next.IsName("and");
  if (next.IsOperator("(")) {
    ASSIGN_OR_RETURN(test.arguments, Arguments());
  } else if (next.IsName("is")) {
    return tokens_.Unexpected("no second test: tests do not chain");
  } else if (starts_value && !is_keyword) {
    ASSIGN_OR_RETURN(ExpressionPtr argument, Primary());
    ASSIGN_OR_RETURN(test.arguments.positional.emplace_back(), Postfix(std::move(argument)));
  }
  test.value = std::move(value);
  return Make(at, std::move(test));
}

absl::StatusOr<Target> ExpressionParser::AssignmentTarget(bool allows_attribute) {
  const Nesting nesting(&depth_);
  if (depth_ > kMaxNesting) {
    return ErrorAt(tokens_.Current().at, absl::StrCat("targets nested deeper than ", kMaxNesting, " levels"));
  }
  std::vector<Target> parts;
  const Position at = tokens_.Current().at;
  bool is_tuple = false;
  do {
    if (is_tuple && (tokens_.Current().IsName("in") || tokens_.Current().IsOperator("="))) break;
    Target part;
    part.at = tokens_.Current().at;
    if (tokens_.TakeOperator("(")) {
      ASSIGN_OR_RETURN(part, AssignmentTarget(/*allows_attribute=*/false));
      RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
    } else {
      ASSIGN_OR_RETURN(part.name, tokens_.ExpectIdentifier());
      if (allows_attribute && tokens_.TakeOperator(".")) {
        ASSIGN_OR_RETURN(part.attribute, tokens_.ExpectIdentifier());
      }
    }
    parts.push_back(std::move(part));
    is_tuple = is_tuple || tokens_.Current().IsOperator(",");
  } while (tokens_.TakeOperator(","));
  if (!is_tuple) return std::move(parts[0]);
  Target target;
  target.at = at;
  target.parts = std::move(parts);
  return target;
}

}  // namespace tandem::jinja
