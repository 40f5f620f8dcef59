// A grammar as a recursive transition network: one automaton over bytes for each rule, whose edges consume a byte or
// call a rule. No rule matches the empty text and none begins with itself, so a call always consumes a byte before it
// returns; and from every state the end of its rule can be reached, so what is not dead can be completed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

struct Network {
  static constexpr int kForever = 1 << 30;

  struct ByteEdge {
    int byte_class = 0, to = 0;
  };
  struct Call {
    int rule = 0, to = 0;  // `to`: where the caller goes on
  };
  struct State {
    int rule = 0;
    bool final = false;
    std::vector<ByteEdge> bytes;  // by class
    std::vector<Call> calls;
    bool only_returns() const { return final && bytes.empty() && calls.empty(); }
  };
  struct Rule {
    int start = -1;
    int rank = 0;  // a rule that another one begins with has the larger rank
    // A counted repetition: its one state, `start`, calls `body` min to max times. Such large counts cost no states.
    bool counted = false;
    int body = -1, min = 0, max = 0;
  };

  std::array<uint8_t, 256> byte_class{};  // bytes that no edge tells apart share one
  int num_classes = 0;
  std::vector<State> states;
  std::vector<Rule> rules;
  int root = 0;
  bool matches_empty = false;
};

// INVALID_ARGUMENT: a rule is not defined, begins with itself through others, or the grammar matches nothing;
// RESOURCE_EXHAUSTED: it is too large.
absl::StatusOr<Network> BuildNetwork(const Rules& rules);

}  // namespace tandem::grammar
