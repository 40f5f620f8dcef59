#include "grammar/fragments.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace tandem::grammar {
namespace {

constexpr int kMaxInlineSize = 40;  // states of a rule that is copied into its callers
constexpr int kMaxUnrolled = 48;    // states that a repetition may take
constexpr int kHuge = 1 << 28;

}  // namespace

// Sizes bottom up. Children have smaller ids; a rule counts as one call unless it was found to be inlined, which takes
// rounds until nothing changes: rules without calls first, then those that call only such.
void Fragments::Measure() {
  inlined_.assign(source_.num_rules(), false);
  size_.assign(source_.num_exprs(), 1);
  loops_.assign(source_.num_exprs(), false);
  std::vector<bool> calls(source_.num_exprs());
  for (int round = 0; round < 4; ++round) {
    for (ExprId id = 0; id < source_.num_exprs(); ++id) {
      const Expr& expr = source_.expr(id);
      int64_t size = 1;
      bool loops = expr.kind == ExprKind::kRepeat && expr.max == kUnbounded, call = false;
      if (expr.kind == ExprKind::kBytes) size = static_cast<int64_t>(expr.bytes.size());
      if (expr.kind == ExprKind::kChars) size = static_cast<int64_t>(expr.chars.ranges().size()) * 2;
      for (const ExprId child : expr.children) {
        size += size_[child];
        loops = loops || loops_[child];
        call = call || calls[child];
      }
      if (expr.kind == ExprKind::kRepeat) {
        const int64_t copies = expr.max == kUnbounded ? expr.min + 1 : expr.max;
        size = size * copies <= kMaxUnrolled ? size * copies : 1;
      }
      if (expr.kind == ExprKind::kRule) {
        call = !inlined_[expr.rule];
        if (!call) size = size_[source_.rule(expr.rule).expr];
      }
      size_[id] = static_cast<int>(std::min<int64_t>(size, kHuge));
      loops_[id] = loops;
      calls[id] = call;
    }
    for (RuleId rule = 0; rule < source_.num_rules(); ++rule) {
      const ExprId expr = source_.rule(rule).expr;
      inlined_[rule] = expr >= 0 && !calls[expr] && size_[expr] <= (loops_[expr] ? 6 : kMaxInlineSize);
    }
  }
}

absl::Status Fragments::Build() {
  for (RuleId rule = 0; rule < source_.num_rules(); ++rule) {
    if (source_.rule(rule).expr < 0) {
      return absl::InvalidArgumentError(absl::StrCat("rule '", source_.rule(rule).name, "' is not defined"));
    }
  }
  Measure();
  for (RuleId rule = 0; rule < source_.num_rules(); ++rule) {
    rules.push_back({.name = source_.rule(rule).name, .expr = source_.rule(rule).expr});
  }
  for (size_t i = 0; i < rules.size() && !too_large_; ++i) {  // grows while it runs: bodies of counted rules
    if (rules[i].counted) continue;
    const int start = NewState(), accept = NewState();
    rules[i].start = start;
    rules[i].accept = accept;
    if (i < static_cast<size_t>(source_.num_rules()) && inlined_[i] && static_cast<RuleId>(i) != source_.root) continue;
    BuildExpr(rules[i].expr, {start, accept});
  }
  if (too_large_) {
    return absl::ResourceExhaustedError(absl::StrCat("needs more than ", kMaxStates, " states"));
  }
  return absl::OkStatus();
}

void Fragments::BuildExpr(ExprId id, Ends ends) {
  if (states.size() > kMaxStates || too_large_) {
    too_large_ = true;
    return;
  }
  const Expr& expr = source_.expr(id);
  switch (expr.kind) {
    case ExprKind::kBytes: {
      int at = ends.from;
      for (const char c : expr.bytes) {
        const int next = NewState();
        states[at].bytes.push_back({{static_cast<uint8_t>(c), static_cast<uint8_t>(c)}, next});
        at = next;
      }
      states[at].empty.push_back(ends.to);
      return;
    }
    case ExprKind::kChars:
      return BuildChars(expr.chars, ends);
    case ExprKind::kSequence: {
      int at = ends.from;
      for (const ExprId child : expr.children) {
        const int next = NewState();
        BuildExpr(child, {at, next});
        at = next;
      }
      states[at].empty.push_back(ends.to);
      return;
    }
    case ExprKind::kChoice:
      for (const ExprId child : expr.children) {
        const int from = NewState();
        states[ends.from].empty.push_back(from);
        BuildExpr(child, {from, ends.to});
      }
      return;
    case ExprKind::kRepeat:
      return BuildRepeat(id, ends);
    case ExprKind::kRule:
      if (inlined_[expr.rule]) return BuildExpr(source_.rule(expr.rule).expr, ends);
      states[ends.from].calls.push_back({expr.rule, ends.to});
      return;
  }
}

// Equal ends of sequences share their states.
void Fragments::BuildChars(const CharSet& chars, Ends ends) {
  std::map<std::tuple<int, int, int>, int> before;  // (first, last, to) -> from
  for (const std::vector<ByteRange>& sequence : chars.Utf8()) {
    int to = ends.to;
    for (size_t i = sequence.size() - 1; i > 0; --i) {
      const auto [at, added] = before.try_emplace({sequence[i].first, sequence[i].last, to}, 0);
      if (added) {
        at->second = NewState();
        states[at->second].bytes.push_back({sequence[i], to});
      }
      to = at->second;
    }
    states[ends.from].bytes.push_back({sequence[0], to});
  }
}

void Fragments::BuildRepeat(ExprId id, Ends ends) {
  const Expr& expr = source_.expr(id);
  const ExprId child = expr.children[0];
  const int64_t copies = expr.max == kUnbounded ? expr.min + 1 : expr.max;
  if (copies > 1 && copies * (size_[child] + 1) > kMaxUnrolled) {
    const int rule = CountedRule(id);  // first: it adds states
    states[ends.from].calls.push_back({rule, ends.to});
    return;
  }
  int at = ends.from;
  for (int i = 0; i < (expr.max == kUnbounded ? expr.min : expr.max); ++i) {
    if (i >= expr.min) states[at].empty.push_back(ends.to);
    const int next = NewState();
    BuildExpr(child, {at, next});
    at = next;
  }
  if (expr.max == kUnbounded) {
    const int loop = NewState(), behind = NewState();
    states[at].empty.push_back(loop);
    BuildExpr(child, {loop, behind});
    states[behind].empty.push_back(loop);
    at = loop;
  }
  states[at].empty.push_back(ends.to);
}

int Fragments::CountedRule(ExprId id) {
  const auto found = counted_.find(id);
  if (found != counted_.end()) return found->second;
  const Expr& expr = source_.expr(id);
  const int rule = static_cast<int>(rules.size());
  rules.push_back({.name = "repetition", .counted = true, .body = rule + 1, .min = expr.min, .max = expr.max});
  rules.push_back({.name = "repeated", .expr = expr.children[0]});
  rules[rule].start = rules[rule].accept = NewState();
  counted_[id] = rule;
  return rule;
}

std::vector<int> Fragments::Closure(std::vector<int> set) const {
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  std::vector<int> stack = set;
  std::vector<int> found = std::move(set);
  absl::flat_hash_set<int> in(found.begin(), found.end());
  while (!stack.empty()) {
    const int state = stack.back();
    stack.pop_back();
    for (const int next : states[state].empty) {
      if (in.insert(next).second) {
        found.push_back(next);
        stack.push_back(next);
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace tandem::grammar
