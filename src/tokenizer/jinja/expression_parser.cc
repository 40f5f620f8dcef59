#include "tokenizer/jinja/expression_parser.h"

#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace tandem::jinja {
namespace {

// Some of the parser's functions are called as the nodes that they make.
using ExpressionNode = struct Expression;
using UnaryNode = struct Unary;

constexpr int kMaxNesting = 200;     // of one expression in another
constexpr int kMaxOperators = 5000;  // of one expression: they may all lie below each other in the tree

template <typename Node>
ExpressionPtr Make(const Position& at, Node node) {
  auto expression = std::make_unique<ExpressionNode>();
  expression->at = at;
  expression->node = std::move(node);
  return expression;
}

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

// Counts one level of nesting while it lives.
class Nesting {
 public:
  explicit Nesting(int* depth) : depth_(depth) { ++*depth_; }
  ~Nesting() { --*depth_; }

 private:
  int* depth_;
};

}  // namespace

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

Parsed ExpressionParser::Postfix(ExpressionPtr value) {
  while (true) {
    RETURN_IF_ERROR(CountOperator());
    if (tokens_.Current().IsOperator(".")) {
      ASSIGN_OR_RETURN(value, Dot(std::move(value)));
    } else if (tokens_.Current().IsOperator("[")) {
      ASSIGN_OR_RETURN(value, Subscript(std::move(value)));
    } else if (tokens_.Current().IsOperator("(")) {
      const Position at = value->at;
      ASSIGN_OR_RETURN(CallArguments arguments, Arguments());
      value = Make(at, Call{std::move(value), std::move(arguments)});
    } else {
      return value;
    }
  }
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
      const Position at = value->at;
      ASSIGN_OR_RETURN(CallArguments arguments, Arguments());
      value = Make(at, Call{std::move(value), std::move(arguments)});
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
