// What the parts of the expression parser share.
#pragma once

#include <memory>
#include <utility>

#include "tokenizer/jinja/ast.h"

namespace tandem::jinja {

// Some of the parser's functions are called as the nodes that they make.
using ExpressionNode = struct Expression;
using UnaryNode = struct Unary;

inline constexpr int kMaxNesting = 200;  // of one expression in another

template <typename Node>
ExpressionPtr Make(const Position& at, Node node) {
  auto expression = std::make_unique<ExpressionNode>();
  expression->at = at;
  expression->node = std::move(node);
  return expression;
}

// Counts one level of nesting while it lives.
class Nesting {
 public:
  explicit Nesting(int* depth) : depth_(depth) { ++*depth_; }
  ~Nesting() { --*depth_; }

 private:
  int* depth_;
};

}  // namespace tandem::jinja
