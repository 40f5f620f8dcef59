#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

absl::StatusOr<AddedToken> ReadToken(const Json& config, const std::string& path) {
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, ReadField<std::string>(config, path, "content"));
  ASSIGN_OR_RETURN(const int64_t id, ReadField<int64_t>(config, path, "id"));
  if (id < 0 || id > Vocabulary::kMaxId) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".id is ", id, ", want 0 to ", Vocabulary::kMaxId));
  }
  token.id = static_cast<int32_t>(id);
  ASSIGN_OR_RETURN(token.special, ReadField<bool>(config, path, "special"));
  ASSIGN_OR_RETURN(token.single_word, ReadField<bool>(config, path, "single_word"));
  ASSIGN_OR_RETURN(token.lstrip, ReadField<bool>(config, path, "lstrip"));
  ASSIGN_OR_RETURN(token.rstrip, ReadField<bool>(config, path, "rstrip"));
  ASSIGN_OR_RETURN(token.normalized, ReadField<bool>(config, path, "normalized"));
  token.normalized_content = token.content;
  return token;
}

// Where the white space that ends `text` begins.
size_t TrimmedEnd(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t at = LastCharacter(text.substr(0, end));
    if (!IsWhiteSpace(DecodeUtf8(text, at).code_point)) break;
    end = at;
  }
  return end;
}

size_t LeadingWhiteSpace(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (!IsWhiteSpace(c.code_point)) break;
    at += c.num_bytes;
  }
  return at;
}

}  // namespace

TokenTrie::TokenTrie() : nodes_(1) {}

int32_t TokenTrie::Child(const Node& node, char byte) {
  for (const auto& [label, child] : node.children) {
    if (label == byte) return child;
  }
  return -1;
}

void TokenTrie::Add(std::string_view text, int32_t value) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  int32_t node = 0;
  for (const char byte : text) {
    int32_t child = Child(nodes_[node], byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_[node].children.emplace_back(byte, child);
      nodes_.emplace_back();
    }
    node = child;
  }
  nodes_[node].value = value;
}

bool TokenTrie::Find(std::string_view text, size_t from, Match* match) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    bool found = false;
    int32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      node = Child(nodes_[node], text[at]);
      if (node < 0) break;
      if (nodes_[node].value >= 0) *match = {begin, at + 1, nodes_[node].value};
      found |= nodes_[node].value >= 0;
    }
    if (found) return true;
  }
  return false;
}

absl::StatusOr<AddedTokens> AddedTokens::Make(const Json* list, const Vocabulary& model, const Normalizer* normalizer) {
  AddedTokens added;
  if (list != nullptr && !list->is_array()) return WrongType("added_tokens", *list, "an array");
  int32_t next_id = model.num_tokens();
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const std::string path = absl::StrCat("added_tokens[", i, "]");
    ASSIGN_OR_RETURN(AddedToken token, ReadToken((*list)[i], path));
    if (token.content.empty()) continue;
    if (token.normalized && normalizer != nullptr) {
      ASSIGN_OR_RETURN(token.normalized_content, normalizer->Apply(token.content));
    }
    const AddedToken* earlier = added.Find(token.content);
    const int32_t declared = token.id;
    const std::optional<int32_t> known = earlier != nullptr ? earlier->id : model.Find(token.content);
    token.id = known.has_value() ? *known : next_id++;
    if (token.id != declared) {
      LOG_WARN("{}: '{}' declares id {}, but its place gives it {}", path, token.content, declared, token.id);
    }
    added.end_id_ = std::max(added.end_id_, token.id + 1);
    if (token.special) added.special_.insert(token.content);
    const int32_t index = earlier != nullptr ? added.by_content_[token.content] : added.tokens_.size();
    added.by_id_[token.id] = added.by_content_[token.content] = index;
    if (index == static_cast<int32_t>(added.tokens_.size())) added.tokens_.emplace_back();
    added.tokens_[index] = std::move(token);
  }
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    (token.normalized ? added.normalized_trie_ : added.plain_trie_).Add(token.normalized_content, i);
  }
  ASSIGN_OR_RETURN(Regex word, Regex::Compile("[\\w\\p{Join_Control}]"));
  added.word_character_ = std::make_unique<Regex>(std::move(word));
  return added;
}

const AddedToken* AddedTokens::Find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::Find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

bool AddedTokens::TouchesWord(std::string_view before, std::string_view behind) const {
  std::string neighbours;
  if (!before.empty()) neighbours.append(before.substr(LastCharacter(before)));
  if (!behind.empty()) neighbours.append(behind.substr(0, DecodeUtf8(behind, 0).num_bytes));
  Regex::Scanner scanner(*word_character_);
  scanner.Start(neighbours);
  Regex::Match match;
  return *scanner.Next(&match);  // one class: cannot backtrack
}

std::vector<AddedTokens::Segment> AddedTokens::Split(std::string_view text, bool normalized) const {
  const TokenTrie& trie = normalized ? normalized_trie_ : plain_trie_;
  std::vector<Segment> segments;
  size_t done = 0;  // everything before it is in a segment
  TokenTrie::Match match;
  for (size_t from = 0; trie.Find(text, from, &match); from = match.end) {
    const AddedToken& token = tokens_[match.value];
    if (token.single_word && TouchesWord(text.substr(0, match.begin), text.substr(match.end))) continue;
    size_t begin = match.begin, end = match.end;
    if (token.lstrip) begin = std::max(done, TrimmedEnd(text.substr(0, begin)));
    if (token.rstrip) end += LeadingWhiteSpace(text.substr(end));
    if (done < begin) segments.push_back({done, begin, -1});
    segments.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({done, text.size(), -1});
  return segments;
}

}  // namespace tandem
