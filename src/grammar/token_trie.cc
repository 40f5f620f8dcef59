#include "grammar/token_trie.h"

#include <algorithm>

namespace tandem::grammar {

TokenTrie::TokenTrie(const TokenBytes& vocabulary, size_t min_bytes, size_t max_bytes) {
  const std::vector<std::string>& bytes = vocabulary.bytes;
  std::vector<int32_t> ids;
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty() && bytes[id].size() >= min_bytes && bytes[id].size() <= std::min(max_bytes, kMaxDepth)) {
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return bytes[a] < bytes[b]; });
  nodes_.push_back({});
  std::vector<uint32_t> path{0};  // nodes from the root to the last one
  for (const int32_t id : ids) {
    const std::string& text = bytes[id];
    size_t shared = 0;
    while (shared + 1 < path.size() && shared < text.size() &&
           nodes_[path[shared + 1]].byte == static_cast<uint8_t>(text[shared])) {
      ++shared;
    }
    for (; path.size() > shared + 1; path.pop_back()) nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
    for (size_t i = shared; i < text.size(); ++i) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.first_token = static_cast<uint32_t>(tokens_.size()),
                        .depth = static_cast<uint16_t>(i + 1),
                        .byte = static_cast<uint8_t>(text[i])});
    }
    tokens_.push_back(id);
  }
  for (const uint32_t node : path) nodes_[node].end = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({.first_token = static_cast<uint32_t>(tokens_.size())});
}

}  // namespace tandem::grammar
