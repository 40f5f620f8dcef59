#include "tokenizer/jinja/expression_parser.h"

#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/parsing.h"

namespace tandem::jinja {
namespace {

constexpr int kMaxOperators = 5000;  // of one expression: they may all lie below each other in the tree

std::optional<Comparison::Op> ComparisonOperator(const Token& token) {
  if (token.type != Token::Type::kOperator) return std::nullopt;
  if (token.text == "==") return Comparison::Op::kEqual;
  if (token.text == "!=") return Comparison::Op::kNotEqual;
  if (token.text == "<") return Comparison::Op::kLess;
  if (token.text == "<=") return Comparison::Op::kLessEqual;
  if (token.text == ">") return Comparison::Op::kGreater;
  if (token.text == ">=") return Comparison::Op::kGreaterEqual;
  return std::nullopt;
}

}  // namespace

using Parsed = ExpressionParser::Parsed;

absl::Status ExpressionParser::CountOperator() {
  if (++operators_ <= kMaxOperators) return absl::OkStatus();
  return ErrorAt(tokens_.Current().at, absl::StrCat("more than ", kMaxOperators, " operators in one expression"));
}

Parsed ExpressionParser::Expression() {
  const Nesting nesting(&depth_);
  if (depth_ > kMaxNesting) {
    return ErrorAt(tokens_.Current().at, absl::StrCat("expressions nested deeper than ", kMaxNesting, " levels"));
  }
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr value, Or());
  while (tokens_.TakeName("if")) {
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(ExpressionPtr condition, Or());
    ExpressionPtr otherwise;
    if (tokens_.TakeName("else")) {
      ASSIGN_OR_RETURN(otherwise, Expression());
    }
    value = Make(at, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

Parsed ExpressionParser::WithoutConditional() {
  return Or();
}

Parsed ExpressionParser::Or() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr left, And());
  while (tokens_.TakeName("or")) {
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(ExpressionPtr right, And());
    left = Make(at, Logic{false, std::move(left), std::move(right)});
  }
  return left;
}

Parsed ExpressionParser::And() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr left, Not());
  while (tokens_.TakeName("and")) {
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(ExpressionPtr right, Not());
    left = Make(at, Logic{true, std::move(left), std::move(right)});
  }
  return left;
}

Parsed ExpressionParser::Not() {
  const Position at = tokens_.Current().at;
  int negations = 0;
  while (tokens_.TakeName("not")) ++negations;
  ASSIGN_OR_RETURN(ExpressionPtr value, Comparison());
  // "not not x" is the truth of x: two nodes say all that more would.
  if (negations > 2) negations = 2 - negations % 2;
  for (; negations > 0; --negations) value = Make(at, UnaryNode{UnaryNode::Op::kNot, std::move(value)});
  return value;
}

Parsed ExpressionParser::Comparison() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr first, Sum());
  struct Comparison comparison;
  while (true) {
    std::optional<Comparison::Op> op = ComparisonOperator(tokens_.Current());
    if (tokens_.Current().IsName("in")) op = Comparison::Op::kIn;
    if (tokens_.Current().IsName("not") && tokens_.Next().IsName("in")) {
      op = Comparison::Op::kNotIn;
      tokens_.Take();
    }
    if (!op.has_value()) break;
    tokens_.Take();
    ASSIGN_OR_RETURN(ExpressionPtr operand, Sum());
    comparison.rest.emplace_back(*op, std::move(operand));
  }
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return Make(at, std::move(comparison));
}

Parsed ExpressionParser::Sum() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr left, Concatenation());
  while (tokens_.Current().IsOperator("+") || tokens_.Current().IsOperator("-")) {
    RETURN_IF_ERROR(CountOperator());
    const Binary::Op op = tokens_.Take().text == "+" ? Binary::Op::kAdd : Binary::Op::kSubtract;
    ASSIGN_OR_RETURN(ExpressionPtr right, Concatenation());
    left = Make(at, Binary{op, std::move(left), std::move(right)});
  }
  return left;
}

Parsed ExpressionParser::Concatenation() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr first, Product());
  if (!tokens_.Current().IsOperator("~")) return first;
  Concat concat;
  concat.parts.push_back(std::move(first));
  while (tokens_.TakeOperator("~")) {
    ASSIGN_OR_RETURN(concat.parts.emplace_back(), Product());
  }
  return Make(at, std::move(concat));
}

Parsed ExpressionParser::Product() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr left, Power());
  while (true) {
    Binary::Op op;
    if (tokens_.TakeOperator("*")) {
      op = Binary::Op::kMultiply;
    } else if (tokens_.TakeOperator("/")) {
      op = Binary::Op::kDivide;
    } else if (tokens_.TakeOperator("//")) {
      op = Binary::Op::kFloorDivide;
    } else if (tokens_.TakeOperator("%")) {
      op = Binary::Op::kModulo;
    } else {
      return left;
    }
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(ExpressionPtr right, Power());
    left = Make(at, Binary{op, std::move(left), std::move(right)});
  }
}

Parsed ExpressionParser::Power() {
  const Position at = tokens_.Current().at;
  ASSIGN_OR_RETURN(ExpressionPtr left, Unary(/*with_filters=*/true));
  while (tokens_.TakeOperator("**")) {
    RETURN_IF_ERROR(CountOperator());
    ASSIGN_OR_RETURN(ExpressionPtr right, Unary(/*with_filters=*/true));
    left = Make(at, Binary{Binary::Op::kPower, std::move(left), std::move(right)});
  }
  return left;
}

Parsed ExpressionParser::Unary(bool with_filters) {
  const Nesting nesting(&depth_);
  if (depth_ > kMaxNesting) {
    return ErrorAt(tokens_.Current().at, absl::StrCat("expressions nested deeper than ", kMaxNesting, " levels"));
  }
  const Position at = tokens_.Current().at;
  ExpressionPtr value;
  if (tokens_.Current().IsOperator("-") || tokens_.Current().IsOperator("+")) {
    const auto op = tokens_.Take().text == "-" ? UnaryNode::Op::kMinus : UnaryNode::Op::kPlus;
    ASSIGN_OR_RETURN(ExpressionPtr operand, Unary(/*with_filters=*/false));
    value = Make(at, UnaryNode{op, std::move(operand)});
  } else {
    ASSIGN_OR_RETURN(value, Primary());
  }
  ASSIGN_OR_RETURN(value, Postfix(std::move(value)));
  if (!with_filters) return value;
  return FiltersAndTests(std::move(value));
}

Parsed ExpressionParser::Primary() {
  const Token& token = tokens_.Current();
  const Position at = token.at;
  switch (token.type) {
    case Token::Type::kName: {
      const std::string name = tokens_.Take().text;
      if (name == "true" || name == "True") return Make(at, Literal{true});
      if (name == "false" || name == "False") return Make(at, Literal{false});
      if (name == "none" || name == "None") return Make(at, Literal{});
      return Make(at, Name{name});
    }
    case Token::Type::kString: {
      std::string text;
      while (tokens_.Current().type == Token::Type::kString) text += tokens_.Take().text;
      return Make(at, Literal{std::move(text)});
    }
    case Token::Type::kInteger:
    case Token::Type::kFloat:
      return Number();
    default:
      if (token.IsOperator("(")) return Parenthesized();
      if (token.IsOperator("[")) return List();
      if (token.IsOperator("{")) return Dict();
      return tokens_.Unexpected("an expression");
  }
}

Parsed ExpressionParser::Number() {
  const Token token = tokens_.Take();
  const char* const begin = token.text.data();
  const char* const end = begin + token.text.size();
  if (token.type == Token::Type::kFloat) {
    double value = 0;
    std::from_chars(begin, end, value);
    return Make(token.at, Literal{value});
  }
  int64_t value = 0;
  if (std::from_chars(begin, end, value).ec != std::errc()) {
    return ErrorAt(token.at, absl::StrCat("the integer ", token.text, " does not fit 64 bits"));
  }
  return Make(token.at, Literal{value});
}

Parsed ExpressionParser::Parenthesized() {
  const Position at = tokens_.Take().at;
  if (tokens_.TakeOperator(")")) return Make(at, TupleLiteral{});
  ASSIGN_OR_RETURN(ExpressionPtr value, TupleOrExpression(/*with_conditional=*/true));
  RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
  return value;
}

Parsed ExpressionParser::List() {
  const Position at = tokens_.Take().at;
  ListLiteral list;
  while (!tokens_.TakeOperator("]")) {
    if (!list.items.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    if (tokens_.TakeOperator("]")) break;
    ASSIGN_OR_RETURN(list.items.emplace_back(), Expression());
  }
  return Make(at, std::move(list));
}

Parsed ExpressionParser::Dict() {
  const Position at = tokens_.Take().at;
  DictLiteral dict;
  while (!tokens_.TakeOperator("}")) {
    if (!dict.items.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    if (tokens_.TakeOperator("}")) break;
    ASSIGN_OR_RETURN(ExpressionPtr key, Expression());
    RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, Expression());
    dict.items.emplace_back(std::move(key), std::move(value));
  }
  return Make(at, std::move(dict));
}

bool ExpressionParser::EndsTuple() const {
  const Token& token = tokens_.Current();
  return token.type == Token::Type::kVariableEnd || token.type == Token::Type::kBlockEnd || token.IsOperator(")") ||
         token.IsName("in") || token.IsName("recursive");
}

Parsed ExpressionParser::TupleOrExpression(bool with_conditional) {
  const Position at = tokens_.Current().at;
  TupleLiteral tuple;
  bool is_tuple = false;
  while (true) {
    if (!tuple.items.empty()) {
      if (!tokens_.TakeOperator(",")) break;
      is_tuple = true;
      if (EndsTuple()) break;
    }
    ASSIGN_OR_RETURN(tuple.items.emplace_back(), with_conditional ? Expression() : Or());
  }
  if (!is_tuple) return std::move(tuple.items[0]);
  return Make(at, std::move(tuple));
}

}  // namespace tandem::jinja
