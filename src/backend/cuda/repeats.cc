#include "backend/cuda/repeats.h"

#include <algorithm>

namespace tandem::cuda {
namespace {

// Padded sizes of decode, with and without some adapters.
constexpr size_t kMostGraphs = 128;
constexpr size_t kMostSeen = 1024;

}  // namespace

Repeats::Body& Repeats::BodyOf(uint64_t key) {
  std::unique_ptr<Body>& body = bodies_[key];
  if (body == nullptr) body = std::make_unique<Body>(arena_);
  return *body;
}

cudaGraphExec_t Repeats::Find(uint64_t key, uint64_t print) {
  const auto found =
      std::ranges::find_if(graphs_, [&](const Graph& graph) { return graph.key == key && graph.print == print; });
  if (found == graphs_.end()) return nullptr;
  graphs_.splice(graphs_.end(), graphs_, found);
  return graphs_.back().exec.get();
}

void Repeats::Insert(uint64_t key, uint64_t print, GraphExec graph) {
  if (graphs_.size() == kMostGraphs) graphs_.pop_front();
  graphs_.push_back({key, print, std::move(graph)});
  std::unordered_set<uint64_t>& seen = BodyOf(key).seen;
  if (seen.size() > kMostSeen) seen.clear();
}

}  // namespace tandem::cuda
