// Structured output: which tokens may come next, so that the text stays a beginning of what a grammar describes.
//
// The automaton is byte-level with shared stacks, and masks are put together from what a state allows by itself and
// what depends on the stack, after XGrammar (Dong et al. 2024, arXiv:2411.15100); here both are found when first
// needed and kept.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grammar/rules.h"
#include "grammar/token_trie.h"

namespace tandem::grammar {

// A vocabulary prepared for masks. Immutable.
class Tokens {
 public:
  static constexpr size_t kShortBytes = 16;  // see Masks
  explicit Tokens(TokenBytes vocabulary)
      : bytes_(std::move(vocabulary)),
        short_(bytes_, 1, kShortBytes),
        long_(bytes_, kShortBytes + 1, TokenTrie::kMaxDepth) {}
  int size() const { return static_cast<int>(bytes_.bytes.size()); }
  size_t mask_words() const { return (bytes_.bytes.size() + 63) / 64; }
  const TokenBytes& vocabulary() const { return bytes_; }
  const TokenTrie& short_tokens() const { return short_; }
  const TokenTrie& long_tokens() const { return long_; }

 private:
  const TokenBytes bytes_;
  const TokenTrie short_, long_;
};

class Automaton;  // masks.h

// A compiled grammar. Thread-safe; what its matchers find out is shared by all of them.
class Grammar {
 public:
  // Statuses of BuildNetwork. `tokens` is shared by all grammars of a model.
  static absl::StatusOr<std::shared_ptr<Grammar>> Compile(const Rules& rules, std::shared_ptr<const Tokens> tokens);
  ~Grammar();
  size_t mask_words() const;  // of a mask, 64 tokens each

 private:
  friend class Matcher;
  struct Parts;
  explicit Grammar(std::unique_ptr<const Parts> parts);
  std::shared_ptr<Automaton> CurrentAutomaton();

  const std::unique_ptr<const Parts> parts_;
  absl::Mutex mutex_;
  std::shared_ptr<Automaton> automaton_ ABSL_GUARDED_BY(mutex_);  // shared: matchers stay with the one they began with
};

// One text on its way through a grammar. Cheap to copy. One thread at a time; different matchers are independent.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<Grammar> grammar);

  // INVALID_ARGUMENT where the grammar does not allow the token here (nothing has changed then). An end token is
  // accepted where the text may end, and nothing after it.
  absl::Status Accept(int32_t token);
  absl::Status AcceptBytes(std::string_view bytes);  // the message names the first byte that does not fit

  // Bit i of word i / 64: token i may come next. RESOURCE_EXHAUSTED where the grammar is so ambiguous that this takes
  // too much work or memory.
  absl::Status FillMask(std::span<uint64_t> mask);

  bool MayEnd() const;   // the text so far is complete
  bool MustEnd() const;  // and nothing can follow

 private:
  std::shared_ptr<Grammar> grammar_;  // shared: requests and the cache of grammars outlive each other in any order
  std::shared_ptr<Automaton> automaton_;
  int at_ = 0;
  bool ended_ = false;
};

}  // namespace tandem::grammar
