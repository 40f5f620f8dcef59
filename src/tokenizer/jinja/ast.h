// The syntax tree of a template. Nodes own their children; the tree is immutable after parsing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/lexer.h"

namespace tandem::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;  // *list and **dict; may be null
};

// Expressions. Missing parts are null.
struct Literal {
  std::variant<std::monostate, bool, int64_t, double, std::string> value;  // monostate: none
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExpressionPtr> items;
};
struct TupleLiteral {
  std::vector<ExpressionPtr> items;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};
struct Unary {
  enum class Op { kNot, kMinus, kPlus } op;
  ExpressionPtr operand;
};
struct Binary {
  enum class Op { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower } op;
  ExpressionPtr left, right;
};
struct Logic {
  bool is_and = false;
  ExpressionPtr left, right;
};
struct Concat {
  std::vector<ExpressionPtr> parts;
};  // a ~ b ~ c
struct Comparison {
  enum class Op { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
  ExpressionPtr first;
  std::vector<std::pair<Op, ExpressionPtr>> rest;  // a < b < c
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object, key;
};
struct Slice {
  ExpressionPtr object, start, stop, step;
};
struct Call {
  ExpressionPtr function;
  CallArguments arguments;
};
struct Filter {
  ExpressionPtr value;
  std::string name;
  CallArguments arguments;
};  // null value: of a block
struct Test {
  ExpressionPtr value;
  std::string name;
  CallArguments arguments;
  bool negated = false;
};
struct Conditional {
  ExpressionPtr condition, then, otherwise;
};  // then if condition else otherwise

struct Expression {
  Position at;
  std::variant<Literal, Name, ListLiteral, TupleLiteral, DictLiteral, Unary, Binary, Logic, Concat, Comparison,
               Attribute, Item, Slice, Call, Filter, Test, Conditional>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

// What an assignment writes: a name, namespace.attribute, or a tuple of them.
struct Target {
  Position at;
  std::string name, attribute;  // attribute "": a plain name
  std::vector<Target> parts;    // of a tuple; name is then ""
};
struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // null: required
};

// Statements.
struct Text {
  std::string text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExpressionPtr iterable, condition;
  Block body, otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  ExpressionPtr filter;
  Block body;
};  // filter: a chain whose innermost value is null
struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;  // else such arguments are refused
};
// {% call(parameters) function(...) %} body {% endcall %}: the macro `caller` is the body.
struct CallBlock {
  ExpressionPtr call;
  MacroDefinition caller;
};
struct FilterBlock {
  ExpressionPtr filter;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Block body;
};
struct Generation {
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<Text, Output, If, For, Set, SetBlock, MacroDefinition, CallBlock, FilterBlock, With, Generation, Break,
               Continue>
      node;
};

}  // namespace tandem::jinja
