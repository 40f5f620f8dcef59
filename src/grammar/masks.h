// Masks of configurations.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "grammar/configurations.h"
#include "grammar/grammar.h"

namespace tandem::grammar {

// A set of tokens in the smallest of three forms.
class TokenSet {
 public:
  explicit TokenSet(std::span<const uint64_t> mask, int num_tokens);
  void AddTo(std::span<uint64_t> mask) const;
  size_t size_bytes() const { return members_.size() * 4 + words_.size() * 8; }

 private:
  std::vector<int32_t> members_;  // where it is small
  std::vector<uint64_t> words_;
};

// A state's own part of a mask: tokens that stay within the state's rule and what that calls (or end exactly with it)
// are in `allowed`; `escapes` are the beginnings of tokens after which the rule has ended, so that the stack decides.
struct LocalMask {
  TokenSet allowed;
  std::vector<uint32_t> escapes;  // nodes of the tree of short tokens
  std::vector<uint32_t> long_escapes;
};

// Lock `mutex` around every use.
class Automaton {
 public:
  Automaton(const Network* network, const Tokens* tokens)
      : configurations_(network), network_(network), tokens_(tokens) {}

  absl::Mutex mutex;
  Configurations& configurations() { return configurations_; }
  // False where it took too much.
  bool FillMask(int configuration, std::span<uint64_t> mask);

  static constexpr int64_t kWorkPerMask = 4'000'000;  // frames visited and tokens' bytes walked: a fraction of a second

 private:
  using LocalKey = std::tuple<int, int, int>;  // state, state of the counted rule right below it or -1, its count
  const LocalMask& Local(const LocalKey& key);
  void Walk(const TokenTrie& trie, uint32_t from, int configuration, std::span<uint64_t> mask,
            std::vector<uint32_t>* escapes);
  void AddItem(const Frame& item, std::span<uint64_t> mask, bool* walk_long);

  Configurations configurations_;
  const Network* const network_;
  const Tokens* const tokens_;
  absl::flat_hash_map<LocalKey, std::unique_ptr<LocalMask>> locals_;
  absl::flat_hash_map<int, TokenSet> masks_;  // by configuration
  absl::flat_hash_map<int, int> behind_;      // node -> the configuration after a return to it
  size_t mask_bytes_ = 0;
};

}  // namespace tandem::grammar
