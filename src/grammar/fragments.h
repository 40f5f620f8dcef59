// Rules as nondeterministic automata (Thompson 1968), the first stage on the way to a Network.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "grammar/rules.h"

namespace tandem::grammar {

struct NfaState {
  struct Edge {
    ByteRange bytes;
    int to = 0;
  };
  struct Call {
    int rule = 0, to = 0;
  };
  std::vector<int> empty;  // edges that consume nothing
  std::vector<Edge> bytes;
  std::vector<Call> calls;
};

struct NfaRule {
  std::string name;
  ExprId expr = -1;
  int start = 0, accept = 0;
  bool counted = false;
  int body = -1, min = 0, max = 0;  // max may be kUnbounded
  bool nullable = false;
};

// Builds every rule; repetitions that would take many states become counted rules, small rules that are not recursive
// are copied into their callers, where tokens cross their borders at no cost.
class Fragments {
 public:
  static constexpr int kMaxStates = 200'000;

  explicit Fragments(const Rules& source) : source_(source) {}
  absl::Status Build();

  std::vector<NfaState> states;
  std::vector<NfaRule> rules;

  // Adds `state` and all that it reaches by empty edges; sorted, each once.
  std::vector<int> Closure(std::vector<int> from) const;

 private:
  struct Ends {
    int from = 0, to = 0;
  };
  int NewState() {
    states.emplace_back();
    return static_cast<int>(states.size()) - 1;
  }
  void Measure();
  bool Inlined(RuleId rule) const { return inlined_[rule]; }
  void BuildExpr(ExprId id, Ends ends);
  void BuildChars(const CharSet& chars, Ends ends);
  void BuildRepeat(ExprId id, Ends ends);
  int CountedRule(ExprId id);

  const Rules& source_;
  std::vector<int> size_;      // of each expression, in states
  std::vector<bool> inlined_;  // by source rule
  std::vector<bool> loops_;    // of each expression
  std::map<ExprId, int> counted_;
  bool too_large_ = false;
};

}  // namespace tandem::grammar
