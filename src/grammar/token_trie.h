// The vocabulary as a tree of bytes, so that tokens with the same beginning are checked together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tandem::grammar {

// A vocabulary as plain data.
struct TokenBytes {
  std::vector<std::string> bytes;   // by id: what the token adds to the text; "" for tokens that are no text
  std::vector<int32_t> end_tokens;  // allowed where the text may end
};

// Nodes in preorder: the subtree of node i is [i, nodes[i].end). Node 0 is the empty text.
class TokenTrie {
 public:
  struct Node {
    uint32_t end = 0;
    uint32_t first_token = 0;  // its own tokens end where the next node's begin
    uint16_t depth = 0;        // bytes
    uint8_t byte = 0;
  };
  static constexpr size_t kMaxDepth = 256;  // bytes of a token; longer ones are never allowed

  // Tokens of min_bytes to max_bytes only.
  TokenTrie(const TokenBytes& vocabulary, size_t min_bytes, size_t max_bytes);

  uint32_t size() const { return static_cast<uint32_t>(nodes_.size()) - 1; }
  const Node& operator[](uint32_t node) const { return nodes_[node]; }
  std::span<const int32_t> tokens(uint32_t node) const {
    return std::span(tokens_).subspan(nodes_[node].first_token,
                                      nodes_[node + 1].first_token - nodes_[node].first_token);
  }

 private:
  std::vector<Node> nodes_;  // and one behind the last
  std::vector<int32_t> tokens_;
};

}  // namespace tandem::grammar
