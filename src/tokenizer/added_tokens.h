// added_tokens of tokenizer.json: tokens that are found in the text itself, before any model sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/regex.h"
#include "tokenizer/vocabulary.h"

namespace tandem {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool single_word = false;        // not where a word character touches it
  bool lstrip = false;             // takes the white space before it
  bool rstrip = false;             // and behind it
  bool normalized = false;         // is looked for in the normalized text
  std::string normalized_content;  // content as the normalizer leaves it; content itself where not normalized
};

// A set of strings, found leftmost-longest.
class TokenTrie {
 public:
  TokenTrie();
  void Add(std::string_view text, int32_t value);
  struct Match {
    size_t begin = 0, end = 0;
    int32_t value = 0;
  };
  // The first match at or behind `from`; false where there is none.
  bool Find(std::string_view text, size_t from, Match* match) const;
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    int32_t value = -1;
    std::vector<std::pair<char, int32_t>> children;
  };
  static int32_t Child(const Node& node, char byte);
  std::vector<Node> nodes_;
  bool starts_[256] = {};  // bytes that begin any string
};

// Immutable after Make; thread-safe.
class AddedTokens {
 public:
  // Reads the file's list. As in the tokenizers library, a token that the model knows keeps the model's id and others
  // are numbered from the end of its vocabulary on. `normalizer` may be null.
  static absl::StatusOr<AddedTokens> Make(const Json* list, const Vocabulary& model, const Normalizer* normalizer);

  struct Segment {
    size_t begin = 0, end = 0;
    int32_t id = -1;  // -1: text
  };
  // Cuts `text` at the tokens with this `normalized` flag; segments are in order and those of text are not empty.
  std::vector<Segment> Split(std::string_view text, bool normalized) const;

  // Null for an id that is not an added token's.
  const AddedToken* Find(int32_t id) const;
  const AddedToken* Find(std::string_view content) const;
  bool IsSpecial(const std::string& content) const { return special_.contains(content); }
  int32_t end_id() const { return end_id_; }  // highest id + 1

 private:
  bool TouchesWord(std::string_view before, std::string_view behind) const;

  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<int32_t, int32_t> by_id_;
  absl::flat_hash_map<std::string, int32_t> by_content_;
  absl::flat_hash_set<std::string> special_;
  TokenTrie plain_trie_, normalized_trie_;
  std::unique_ptr<Regex> word_character_;
  int32_t end_id_ = 0;
};

}  // namespace tandem
