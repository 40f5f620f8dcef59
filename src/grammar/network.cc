// From fragments to the network: no empty rules, no left recursion, tail calls of a rule to itself as loops,
// determinized where that stays small, and without what cannot be completed.
#include "grammar/network.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/fragments.h"

namespace tandem::grammar {
namespace {

constexpr int64_t kMaxWork = 20'000'000;  // visits of automaton states, about a second
constexpr int kMaxStates = 100'000;

class Builder {
 public:
  explicit Builder(const Rules& source) : source_(source), nfa_(source) {}
  absl::StatusOr<Network> Build();

 private:
  void FindNullable();
  std::vector<std::vector<int>> FindCallers();
  void SeparateStart(int rule);
  void LoopOnTailCalls(int rule);
  absl::Status RankRules();
  void ClassifyBytes();
  bool Determinize(int rule);
  void RemoveEmptyEdges(int rule);
  void AddEdges(const std::vector<int>& closure, int rule, int state);
  absl::Status Trim();
  absl::Status CheckWork() const;
  std::vector<int> ClosureOf(std::vector<int> set) {
    std::vector<int> closure = nfa_.Closure(std::move(set));
    work_ += static_cast<int64_t>(closure.size());
    return closure;
  }

  const Rules& source_;
  Fragments nfa_;
  Network net_;
  int64_t work_ = 0;
};

// A call of a nullable rule may be skipped; so it is, and the rule itself no longer matches nothing (SeparateStart).
// Every rule is looked at once, and again only after one that it calls has turned out to be nullable.
void Builder::FindNullable() {
  const int count = static_cast<int>(nfa_.rules.size());
  struct Site {  // of a call
    int state = 0, to = 0;
  };
  std::vector<std::vector<Site>> sites(count);
  for (size_t state = 0; state < nfa_.states.size(); ++state) {
    for (const NfaState::Call& call : nfa_.states[state].calls) {
      sites[call.rule].push_back({static_cast<int>(state), call.to});
    }
  }
  const std::vector<std::vector<int>> callers = FindCallers();
  std::vector<int> waiting(count);
  std::iota(waiting.begin(), waiting.end(), 0);
  std::vector<bool> waits(count, true);
  while (!waiting.empty() && work_ <= kMaxWork) {
    std::vector<int> found;  // in this round: rules that call many of them are looked at once for all
    for (const int index : waiting) {
      if (work_ > kMaxWork) return;
      NfaRule& rule = nfa_.rules[index];
      waits[index] = false;
      if (rule.counted) {
        rule.nullable = rule.min == 0 || nfa_.rules[rule.body].nullable;
      } else {
        const std::vector<int> closure = ClosureOf({rule.start});
        rule.nullable = std::binary_search(closure.begin(), closure.end(), rule.accept);
      }
      if (rule.nullable) found.push_back(index);
    }
    waiting.clear();
    for (const int index : found) {
      for (const Site& site : sites[index]) nfa_.states[site.state].empty.push_back(site.to);
      work_ += static_cast<int64_t>(sites[index].size() + callers[index].size());
      for (const int caller : callers[index]) {
        if (nfa_.rules[caller].nullable || waits[caller]) continue;
        waits[caller] = true;
        waiting.push_back(caller);
      }
    }
  }
}

// By rule: the rules that call it, or repeat it.
std::vector<std::vector<int>> Builder::FindCallers() {
  std::vector<std::vector<int>> callers(nfa_.rules.size());
  std::vector<int> owner(nfa_.states.size(), -1);
  for (int index = 0; index < static_cast<int>(nfa_.rules.size()); ++index) {
    const NfaRule& rule = nfa_.rules[index];
    if (rule.counted) {
      callers[rule.body].push_back(index);
      continue;
    }
    std::vector<int> reachable{rule.start};
    owner[rule.start] = index;
    const auto visit = [&](int to) {
      if (owner[to] != index) reachable.push_back(to);
      owner[to] = index;
    };
    for (size_t i = 0; i < reachable.size(); ++i) {
      const NfaState& state = nfa_.states[reachable[i]];
      for (const int to : state.empty) visit(to);
      for (const auto& edge : state.bytes) visit(edge.to);
      for (const auto& call : state.calls) {
        callers[call.rule].push_back(index);
        visit(call.to);
      }
    }
    work_ += static_cast<int64_t>(reachable.size());
  }
  return callers;
}

// A start that nothing leads back to, with edges of its own. There R -> R a | b becomes R -> b a*.
void Builder::SeparateStart(int index) {
  NfaRule& rule = nfa_.rules[index];
  NfaState start;
  std::vector<int> repeats;
  for (const int state : ClosureOf({rule.start})) {
    const NfaState& from = nfa_.states[state];
    start.bytes.insert(start.bytes.end(), from.bytes.begin(), from.bytes.end());
    for (const NfaState::Call& call : from.calls) {
      if (call.rule == index) {
        repeats.push_back(call.to);
      } else {
        start.calls.push_back(call);
      }
    }
  }
  std::vector<int>& behind = nfa_.states[rule.accept].empty;
  behind.insert(behind.end(), repeats.begin(), repeats.end());
  nfa_.states.push_back(std::move(start));
  rule.start = static_cast<int>(nfa_.states.size()) - 1;
}

// R -> a R | b becomes a loop: otherwise every turn would cost a level of the stack.
void Builder::LoopOnTailCalls(int index) {
  const NfaRule& rule = nfa_.rules[index];
  std::vector<int> reachable{rule.start};
  std::vector<bool> seen(nfa_.states.size());
  seen[rule.start] = true;
  const auto visit = [&](int to) {
    if (!seen[to]) reachable.push_back(to);
    seen[to] = true;
  };
  for (size_t i = 0; i < reachable.size(); ++i) {
    const NfaState& state = nfa_.states[reachable[i]];
    for (const int to : state.empty) visit(to);
    for (const auto& edge : state.bytes) visit(edge.to);
    for (const auto& call : state.calls) visit(call.to);
  }
  for (const int at : reachable) {
    std::vector<NfaState::Call> kept;
    std::vector<int> looped;
    for (const NfaState::Call& call : nfa_.states[at].calls) {
      bool tail = call.rule == index;
      if (tail) {
        bool accepts = false;
        for (const int state : ClosureOf({call.to})) {
          tail = tail && nfa_.states[state].bytes.empty() && nfa_.states[state].calls.empty();
          accepts = accepts || state == rule.accept;
        }
        tail = tail && accepts;
      }
      if (tail) {
        looped.push_back(rule.start);
      } else {
        kept.push_back(call);
      }
    }
    nfa_.states[at].calls = std::move(kept);
    nfa_.states[at].empty.insert(nfa_.states[at].empty.end(), looped.begin(), looped.end());
  }
}

absl::Status Builder::RankRules() {
  const int count = static_cast<int>(nfa_.rules.size());
  std::vector<std::vector<int>> begins(count);  // the rules that a rule can begin with
  std::vector<int> callers(count, 0), ready;
  for (int i = 0; i < count; ++i) {
    const NfaRule& rule = nfa_.rules[i];
    if (rule.counted) begins[i].push_back(rule.body);
    if (!rule.counted) {
      for (const auto& call : nfa_.states[rule.start].calls) begins[i].push_back(call.rule);
    }
    std::sort(begins[i].begin(), begins[i].end());
    begins[i].erase(std::unique(begins[i].begin(), begins[i].end()), begins[i].end());
    for (const int callee : begins[i]) ++callers[callee];
  }
  for (int i = 0; i < count; ++i) {
    if (callers[i] == 0) ready.push_back(i);
  }
  for (size_t i = 0; i < ready.size(); ++i) {
    net_.rules[ready[i]].rank = static_cast<int>(i);
    for (const int callee : begins[ready[i]]) {
      if (--callers[callee] == 0) ready.push_back(callee);
    }
  }
  for (int i = 0; i < count; ++i) {
    if (callers[i] > 0 && i < source_.num_rules()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rule '", nfa_.rules[i].name,
                       "' begins with itself through other rules; left recursion is supported within one rule only"));
    }
  }
  if (static_cast<int>(ready.size()) < count) {
    return absl::InvalidArgumentError("a repetition begins with itself");
  }
  return absl::OkStatus();
}

void Builder::ClassifyBytes() {
  std::bitset<257> begins;
  begins[0] = true;
  for (const NfaState& state : nfa_.states) {
    for (const auto& edge : state.bytes) {
      begins[edge.bytes.first] = true;
      begins[edge.bytes.last + 1] = true;
    }
  }
  int current = -1;
  for (int byte = 0; byte < 256; ++byte) {
    if (begins[byte]) ++current;
    net_.byte_class[byte] = static_cast<uint8_t>(current);
  }
  net_.num_classes = current + 1;
}

// Subset construction; false, with nothing done, where it would take many more states than the rule has now.
bool Builder::Determinize(int index) {
  const NfaRule& rule = nfa_.rules[index];
  std::map<std::vector<int>, int> numbers;
  std::vector<std::vector<int>> sets{{rule.start}};
  std::vector<Network::State> made;
  numbers[sets[0]] = 0;
  int64_t limit = 64, visited = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    std::map<int, std::vector<int>> by_class, by_rule;
    Network::State state{.rule = index};
    const std::vector<int> members = ClosureOf(sets[i]);
    limit += i == 0 ? static_cast<int64_t>(nfa_.states.size()) : 0;
    visited += static_cast<int64_t>(members.size());
    if (static_cast<int64_t>(sets.size()) > limit || visited > 4 * kMaxStates || work_ > kMaxWork) return false;
    for (const int member : members) {
      state.final = state.final || member == rule.accept;
      for (const auto& edge : nfa_.states[member].bytes) {
        for (int c = net_.byte_class[edge.bytes.first]; c <= net_.byte_class[edge.bytes.last]; ++c) {
          by_class[c].push_back(edge.to);
        }
      }
      for (const auto& call : nfa_.states[member].calls) by_rule[call.rule].push_back(call.to);
    }
    const auto number = [&](std::vector<int>& targets) {
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      const auto [at, added] = numbers.try_emplace(targets, static_cast<int>(sets.size()));
      if (added) sets.push_back(targets);
      return at->second;
    };
    for (auto& [c, targets] : by_class) state.bytes.push_back({c, number(targets)});
    for (auto& [callee, targets] : by_rule) state.calls.push_back({callee, number(targets)});
    made.push_back(std::move(state));
  }
  const int first = static_cast<int>(net_.states.size());
  for (Network::State& state : made) {
    for (auto& edge : state.bytes) edge.to += first;
    for (auto& call : state.calls) call.to += first;
    net_.states.push_back(std::move(state));
  }
  net_.rules[index].start = first;
  return true;
}

void Builder::RemoveEmptyEdges(int index) {
  const NfaRule& rule = nfa_.rules[index];
  absl::flat_hash_map<int, int> numbers;
  std::vector<int> order;
  const auto number = [&](int state) {
    const auto [at, added] = numbers.try_emplace(state, static_cast<int>(net_.states.size()));
    if (added) {
      net_.states.push_back({.rule = index});
      order.push_back(state);
    }
    return at->second;
  };
  net_.rules[index].start = number(rule.start);
  for (size_t i = 0; i < order.size() && work_ <= kMaxWork && net_.states.size() <= kMaxStates; ++i) {
    Network::State made{.rule = index};
    for (const int member : ClosureOf({order[i]})) {
      made.final = made.final || member == rule.accept;
      for (const auto& edge : nfa_.states[member].bytes) {
        for (int c = net_.byte_class[edge.bytes.first]; c <= net_.byte_class[edge.bytes.last]; ++c) {
          made.bytes.push_back({c, number(edge.to)});
        }
      }
      for (const auto& call : nfa_.states[member].calls) made.calls.push_back({call.rule, number(call.to)});
    }
    std::sort(made.bytes.begin(), made.bytes.end(), [](const auto& a, const auto& b) {
      return std::pair(a.byte_class, a.to) < std::pair(b.byte_class, b.to);
    });
    net_.states[numbers[order[i]]] = std::move(made);
  }
}

// Keeps the edges from which the end of the rule can be reached, backwards from the final states. A call counts once
// its rule is known to match something.
absl::Status Builder::Trim() {
  const int count = static_cast<int>(net_.states.size());
  std::vector<std::vector<int>> before(count);                   // by byte edges
  std::vector<std::vector<std::pair<int, int>>> callers(count);  // (state, rule) by the state behind the call
  std::vector<std::vector<int>> waiting(net_.rules.size());      // alive once the rule is productive
  std::vector<bool> alive(count), productive(net_.rules.size());
  std::vector<int> stack;
  const auto mark = [&](int state) {
    if (!alive[state]) stack.push_back(state);
    alive[state] = true;
  };
  for (int i = 0; i < count; ++i) {
    for (const auto& edge : net_.states[i].bytes) before[edge.to].push_back(i);
    for (const auto& call : net_.states[i].calls) callers[call.to].push_back({i, call.rule});
    if (net_.states[i].final) mark(i);
  }
  for (const Network::Rule& rule : net_.rules) {
    if (rule.counted && rule.max != 0) waiting[rule.body].push_back(rule.start);
  }
  while (!stack.empty()) {
    const int at = stack.back();
    stack.pop_back();
    for (const int state : before[at]) mark(state);
    for (const auto& [state, callee] : callers[at]) {
      if (productive[callee]) {
        mark(state);
      } else {
        waiting[callee].push_back(state);
      }
    }
    const int rule = net_.states[at].rule;
    if (at != net_.rules[rule].start || productive[rule]) continue;
    productive[rule] = true;
    for (const int state : waiting[rule]) mark(state);
  }
  for (Network::State& state : net_.states) {
    std::erase_if(state.bytes, [&](const auto& edge) { return !alive[edge.to]; });
    std::erase_if(state.calls, [&](const auto& call) { return !alive[call.to] || !productive[call.rule]; });
  }
  if (!productive[net_.root] && !net_.matches_empty) {
    return absl::InvalidArgumentError("the grammar matches no finite text");
  }
  return absl::OkStatus();
}

absl::Status Builder::CheckWork() const {
  if (work_ <= kMaxWork && net_.states.size() <= kMaxStates) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("too large: ", nfa_.states.size(), " states before and more than ",
                                                   kMaxStates, " after simplification, or too much work to simplify"));
}

absl::StatusOr<Network> Builder::Build() {
  RETURN_IF_ERROR(nfa_.Build());
  FindNullable();
  RETURN_IF_ERROR(CheckWork());
  net_.root = source_.root;
  net_.matches_empty = nfa_.rules[net_.root].nullable;
  const int count = static_cast<int>(nfa_.rules.size());
  net_.rules.resize(count);
  for (int i = 0; i < count && work_ <= kMaxWork; ++i) {
    if (!nfa_.rules[i].counted) SeparateStart(i);
  }
  RETURN_IF_ERROR(CheckWork());
  RETURN_IF_ERROR(RankRules());
  for (int i = 0; i < count && work_ <= kMaxWork; ++i) {
    if (!nfa_.rules[i].counted) LoopOnTailCalls(i);
  }
  ClassifyBytes();
  for (int i = 0; i < count && work_ <= kMaxWork && net_.states.size() <= kMaxStates; ++i) {
    const NfaRule& rule = nfa_.rules[i];
    if (rule.counted) {
      const bool nullable_body = nfa_.rules[rule.body].nullable;
      net_.rules[i].counted = true;
      net_.rules[i].body = rule.body;
      net_.rules[i].min = nullable_body ? 1 : std::max(1, rule.min);
      net_.rules[i].max = rule.max == kUnbounded ? Network::kForever : rule.max;
      net_.rules[i].start = static_cast<int>(net_.states.size());
      net_.states.push_back({.rule = i});
    } else if (!Determinize(i)) {
      RemoveEmptyEdges(i);
    }
  }
  RETURN_IF_ERROR(CheckWork());
  RETURN_IF_ERROR(Trim());
  return std::move(net_);
}

}  // namespace

absl::StatusOr<Network> BuildNetwork(const Rules& rules) {
  return Builder(rules).Build();
}

}  // namespace tandem::grammar
