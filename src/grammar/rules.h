// What every front end (EBNF, regular expression, JSON schema) writes: named rules over expressions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "grammar/char_set.h"

namespace tandem::grammar {

using ExprId = int;
using RuleId = int;

inline constexpr int kUnbounded = -1;

enum class ExprKind { kBytes, kChars, kSequence, kChoice, kRepeat, kRule };

struct Expr {
  ExprKind kind = ExprKind::kSequence;
  std::string bytes;             // kBytes
  CharSet chars;                 // kChars
  std::vector<ExprId> children;  // kSequence (none: the empty text), kChoice (none: matches nothing), kRepeat: one
  int min = 0, max = 0;          // kRepeat; max may be kUnbounded
  RuleId rule = 0;               // kRule
};

// Expressions form a directed acyclic graph: ids of children are smaller than their parent's. Recursion goes through
// rules.
class Rules {
 public:
  struct Rule {
    std::string name;
    ExprId expr = -1;  // -1: not defined
  };

  ExprId Bytes(std::string bytes) { return Add({.kind = ExprKind::kBytes, .bytes = std::move(bytes)}); }
  ExprId Chars(CharSet chars) { return Add({.kind = ExprKind::kChars, .chars = std::move(chars)}); }
  ExprId Sequence(std::vector<ExprId> parts) {
    return parts.size() == 1 ? parts[0] : Add({.kind = ExprKind::kSequence, .children = std::move(parts)});
  }
  ExprId Choice(std::vector<ExprId> parts) {
    return parts.size() == 1 ? parts[0] : Add({.kind = ExprKind::kChoice, .children = std::move(parts)});
  }
  ExprId Repeat(ExprId child, int min, int max) {
    return Add({.kind = ExprKind::kRepeat, .children = {child}, .min = min, .max = max});
  }
  ExprId Optional(ExprId child) { return Repeat(child, 0, 1); }
  ExprId Ref(RuleId rule) { return Add({.kind = ExprKind::kRule, .rule = rule}); }

  RuleId AddRule(std::string name, ExprId expr = -1) {
    rules_.push_back({std::move(name), expr});
    return static_cast<RuleId>(rules_.size()) - 1;
  }
  void Define(RuleId rule, ExprId expr) { rules_[rule].expr = expr; }

  const Expr& expr(ExprId id) const { return exprs_[id]; }
  const Rule& rule(RuleId id) const { return rules_[id]; }
  int num_rules() const { return static_cast<int>(rules_.size()); }
  int num_exprs() const { return static_cast<int>(exprs_.size()); }
  RuleId root = 0;

 private:
  ExprId Add(Expr expr) {
    exprs_.push_back(std::move(expr));
    return static_cast<ExprId>(exprs_.size()) - 1;
  }
  std::vector<Expr> exprs_;
  std::vector<Rule> rules_;
};

}  // namespace tandem::grammar
