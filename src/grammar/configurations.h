// Where a text can stand in a grammar: sets of (state, stack) with shared stacks, found lazily and kept once each, so
// that they form a deterministic automaton over bytes that grows with what is visited. Stacks are nodes of a graph:
// all callers of a rule at one place share one node (as in Tomita's graph-structured stack and Earley's sets), so an
// ambiguous grammar costs polynomially many, not exponentially many stacks.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "grammar/network.h"

namespace tandem::grammar {

// A state of the network with what it returns to. `count`: turns done, in states of counted rules only.
struct Frame {
  static constexpr int kAccept = -1;  // pseudo state: the whole text ends here
  static constexpr int kEscape = -2;  // pseudo state: the stack below is not known
  int state = 0, count = 0, node = 0;
  auto operator<=>(const Frame&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Frame& f) {
    return H::combine(std::move(h), f.state, f.count, f.node);
  }
};

// Not thread-safe.
class Configurations {
 public:
  static constexpr int kDead = 0;
  static constexpr int kRootNode = 0;    // returns to kAccept
  static constexpr int kBottomNode = 1;  // returns to kEscape

  explicit Configurations(const Network* network);

  // Closes `kernel` under returns and calls.
  int Close(std::vector<Frame> kernel);
  // The configuration at the beginning of the text.
  int Start();
  int Next(int configuration, uint8_t byte) {
    const int c = network_->byte_class[byte];
    const int known = next_[static_cast<size_t>(configuration) * network_->num_classes + c];
    return known >= 0 ? known : FindNext(configuration, c);
  }
  // After all of `bytes`; kDead where the grammar has no text that goes on so.
  int Next(int configuration, std::string_view bytes) {
    for (size_t i = 0; i < bytes.size() && configuration != kDead; ++i) {
      configuration = Next(configuration, static_cast<uint8_t>(bytes[i]));
    }
    return configuration;
  }

  bool accepts(int configuration) const { return flags_[configuration] & 1; }  // the text may end here
  bool escapes(int configuration) const { return flags_[configuration] & 2; }
  // (state, node) pairs whose states have byte edges, and pseudo states.
  const std::vector<Frame>& frames(int configuration) const { return configurations_[configuration]; }
  const std::vector<Frame>& node(int node) const { return nodes_[node]; }
  int InternNode(std::vector<Frame> frames);

  // Work and memory. Once exhausted() results are kDead and mean nothing.
  void Allow(int64_t work) { work_left_ = work; }
  bool exhausted() const { return work_left_ < 0 || frames_held_ > kMaxFrames; }
  int64_t frames_held() const { return frames_held_; }
  static constexpr int64_t kMaxFrames = 4'000'000;  // about 150 MB with what hangs on them

 private:
  struct Closure;
  int FindNext(int configuration, int byte_class);

  const Network* const network_;
  std::deque<std::vector<Frame>> nodes_, configurations_;  // deques: the maps view their elements
  absl::flat_hash_map<absl::Span<const Frame>, int> node_ids_, configuration_ids_;
  std::vector<uint8_t> flags_;
  std::vector<int32_t> next_;  // [configurations, classes]; -1: not known yet
  int64_t work_left_ = 0, frames_held_ = 0;
};

}  // namespace tandem::grammar
