#include "grammar/configurations.h"

#include <algorithm>
#include <map>

namespace tandem::grammar {

// One closure: returns first, to a fixed point (a call cannot return before it has consumed a byte, so calls add none);
// then calls, callers before the rules they begin with, so that a node is complete when it is made.
struct Configurations::Closure {
  Configurations& all;
  const Network& net;
  std::vector<Frame> items;
  std::vector<Frame> work;
  absl::flat_hash_set<Frame> seen;
  absl::flat_hash_set<int> returned;
  std::map<int, std::pair<int, std::vector<Frame>>> calls;  // by rank: rule and the frames it returns to

  void Push(const Frame& frame) {
    if (seen.insert(frame).second) work.push_back(frame);
    --all.work_left_;
  }
  void Return(int node) {
    if (!returned.insert(node).second) return;
    for (const Frame& frame : all.nodes_[node]) Push(frame);
  }
  void Call(int rule, const Frame& frame) {
    auto& [callee, frames] = calls[net.rules[rule].rank];
    callee = rule;
    const Network::State& state = net.states[frame.state];
    const Network::Rule& owner = net.rules[state.rule];
    --all.work_left_;
    const bool only_returns = owner.counted ? frame.count == owner.max : state.only_returns();
    if (only_returns) {  // a tail call: what it returns to is what the caller returns to
      const std::vector<Frame>& below = all.nodes_[frame.node];
      frames.insert(frames.end(), below.begin(), below.end());
      all.work_left_ -= static_cast<int64_t>(below.size());
    } else {
      frames.push_back(frame);
    }
  }
  void Visit(const Frame& frame) {
    if (frame.state < 0) {
      items.push_back(frame);
      return;
    }
    const Network::State& state = net.states[frame.state];
    const Network::Rule& rule = net.rules[state.rule];
    if (rule.counted) {
      if (frame.count >= rule.min) Return(frame.node);
      const int ceiling = rule.max == Network::kForever ? rule.min : rule.max;  // turns beyond it are all alike
      if (frame.count < rule.max) {
        Call(rule.body, {frame.state, std::min(frame.count + 1, ceiling), frame.node});
      }
      return;
    }
    if (state.final) Return(frame.node);
    if (!state.bytes.empty()) items.push_back(frame);
    for (const Network::Call& call : state.calls) Call(call.rule, {call.to, 0, frame.node});
  }
};

Configurations::Configurations(const Network* network) : network_(network) {
  InternNode({{Frame::kAccept, 0, 0}});
  InternNode({{Frame::kEscape, 0, 0}});
  Allow(1);
  Close({});  // kDead
}

int Configurations::InternNode(std::vector<Frame> frames) {
  std::sort(frames.begin(), frames.end());
  frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
  if (const auto found = node_ids_.find(frames); found != node_ids_.end()) return found->second;
  frames_held_ += static_cast<int64_t>(frames.size()) + 2;
  nodes_.push_back(std::move(frames));
  const int id = static_cast<int>(nodes_.size()) - 1;
  node_ids_.emplace(nodes_.back(), id);
  return id;
}

int Configurations::Close(std::vector<Frame> kernel) {
  Closure closure{*this, *network_};
  for (const Frame& frame : kernel) closure.Push(frame);
  while (!closure.work.empty() && work_left_ >= 0) {
    const Frame frame = closure.work.back();
    closure.work.pop_back();
    closure.Visit(frame);
  }
  while (!closure.calls.empty() && work_left_ >= 0) {
    auto [rule, frames] = std::move(closure.calls.begin()->second);
    closure.calls.erase(closure.calls.begin());
    work_left_ -= static_cast<int64_t>(frames.size());
    closure.Visit({network_->rules[rule].start, 0, InternNode(std::move(frames))});
  }
  if (work_left_ < 0) return kDead;
  std::vector<Frame>& items = closure.items;
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  if (const auto found = configuration_ids_.find(items); found != configuration_ids_.end()) return found->second;
  uint8_t flags = 0;
  for (const Frame& frame : items) flags |= frame.state == Frame::kAccept ? 1 : frame.state == Frame::kEscape ? 2 : 0;
  frames_held_ += static_cast<int64_t>(items.size()) + network_->num_classes / 4 + 4;
  configurations_.push_back(std::move(items));
  flags_.push_back(flags);
  next_.resize(next_.size() + network_->num_classes, -1);
  const int id = static_cast<int>(configurations_.size()) - 1;
  configuration_ids_.emplace(configurations_.back(), id);
  return id;
}

int Configurations::Start() {
  const Network::Rule& root = network_->rules[network_->root];
  std::vector<Frame> kernel;
  if (root.start >= 0) kernel.push_back({root.start, 0, kRootNode});
  if (network_->matches_empty) kernel.push_back({Frame::kAccept, 0, 0});
  return Close(std::move(kernel));
}

int Configurations::FindNext(int configuration, int byte_class) {
  std::vector<Frame> kernel;
  for (const Frame& frame : configurations_[configuration]) {
    if (frame.state < 0) continue;
    const auto& edges = network_->states[frame.state].bytes;
    auto edge = std::lower_bound(edges.begin(), edges.end(), byte_class,
                                 [](const Network::ByteEdge& e, int c) { return e.byte_class < c; });
    for (; edge != edges.end() && edge->byte_class == byte_class; ++edge) kernel.push_back({edge->to, 0, frame.node});
  }
  const int next = kernel.empty() ? kDead : Close(std::move(kernel));
  if (!exhausted()) next_[static_cast<size_t>(configuration) * network_->num_classes + byte_class] = next;
  return next;
}

}  // namespace tandem::grammar
