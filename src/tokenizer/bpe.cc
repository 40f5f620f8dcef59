#include "tokenizer/bpe.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

// A merge that was possible when it was queued: lowest rank first, leftmost among equals.
struct Candidate {
  int32_t rank = 0, position = 0, id = 0;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

absl::StatusOr<Vocabulary> ReadVocabulary(const Json& config) {
  const Json* vocab = FindField(config, "vocab");
  if (vocab == nullptr) return absl::InvalidArgumentError("model.vocab is missing, want an object");
  if (!vocab->is_object()) return WrongType("model.vocab", *vocab, "an object of token to id");
  std::vector<std::pair<std::string, int64_t>> entries;
  entries.reserve(vocab->size());
  for (const auto& [token, id] : vocab->items()) {
    const bool fits = id.is_number_integer() && (!id.is_number_unsigned() || id.get<uint64_t>() <= INT64_MAX);
    if (!fits) return WrongType(absl::StrCat("model.vocab['", token, "']"), id, "an id");
    entries.emplace_back(token, id.get<int64_t>());
  }
  Vocabulary vocabulary;
  RETURN_IF_ERROR(Annotate(vocabulary.Fill(std::move(entries)), "model.vocab"));
  return vocabulary;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> Bpe::Make(const Json& config) {
  std::unique_ptr<Bpe> bpe(new Bpe);
  ASSIGN_OR_RETURN(bpe->vocabulary_, ReadVocabulary(config));
  RETURN_IF_ERROR(bpe->ReadOptions(config));
  RETURN_IF_ERROR(bpe->ReadMerges(config));
  for (int32_t id = 0; id < bpe->vocabulary_.end_id(); ++id) {
    const std::string& token = bpe->vocabulary_.TokenOf(id);
    if (token.empty()) continue;
    const Utf8Char first = DecodeUtf8(token, 0);
    if (first.num_bytes == static_cast<int>(token.size())) bpe->character_ids_[first.code_point] = id;
  }
  return bpe;
}

absl::Status Bpe::ReadOptions(const Json& config) {
  ASSIGN_OR_RETURN(const double dropout, ReadField<double>(config, "model", "dropout", 0.0));
  if (dropout != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.dropout is ", dropout, ", want 0: encoding must not depend on chance"));
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string affix, ReadField<std::string>(config, "model", key, ""));
    if (!affix.empty()) return NotSupported(absl::StrCat("model.", std::string(key)), affix, {});
  }
  ASSIGN_OR_RETURN(unknown_token_, ReadField<std::string>(config, "model", "unk_token", ""));
  ASSIGN_OR_RETURN(fuse_unknown_, ReadField<bool>(config, "model", "fuse_unk", false));
  ASSIGN_OR_RETURN(ignore_merges_, ReadField<bool>(config, "model", "ignore_merges", false));
  ASSIGN_OR_RETURN(const bool byte_fallback, ReadField<bool>(config, "model", "byte_fallback", false));
  if (byte_fallback) byte_ids_ = FindByteTokens(vocabulary_);
  return absl::OkStatus();
}

absl::Status Bpe::ReadMerges(const Json& config) {
  ASSIGN_OR_RETURN(const Json* merges, ReadArray(config, "model", "merges"));
  merges_.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    const auto path = [i] { return absl::StrCat("model.merges[", i, "]"); };
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        return absl::InvalidArgumentError(absl::StrCat(path(), " is '", text, "', want two tokens and one space"));
      }
      RETURN_IF_ERROR(
          AddMerge(path(), std::string_view(text).substr(0, space), std::string_view(text).substr(space + 1)));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      RETURN_IF_ERROR(AddMerge(path(), merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()));
    } else {
      return WrongType(path(), merge, "\"left right\" or [left, right]");
    }
  }
  return absl::OkStatus();
}

absl::Status Bpe::AddMerge(const std::string& path, std::string_view left, std::string_view right) {
  const std::string joined = absl::StrCat(std::string(left), std::string(right));
  const std::optional<int32_t> ids[3] = {vocabulary_.Find(left), vocabulary_.Find(right), vocabulary_.Find(joined)};
  for (int i = 0; i < 3; ++i) {
    if (ids[i].has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, " joins '", std::string(left), "' and '", std::string(right),
                                                   "', but '",
                                                   i == 0   ? std::string(left)
                                                   : i == 1 ? std::string(right)
                                                            : joined,
                                                   "' is not in model.vocab"));
  }
  const int32_t rank = static_cast<int32_t>(merges_.size());
  merges_[PairKey(*ids[0], *ids[1])] = {rank, *ids[2]};
  return absl::OkStatus();
}

const Bpe::Merge* Bpe::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

absl::Status Bpe::Tokenize(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = vocabulary_.Find(word); id.has_value()) {
      ids->push_back(*id);
      return absl::OkStatus();
    }
  }
  std::vector<Symbol> symbols;
  RETURN_IF_ERROR(Characters(word, &symbols));
  MergeAll(&symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.merged_away) ids->push_back(symbol.id);
  }
  return absl::OkStatus();
}

// A pending unknown token is written before the next known character, as Hugging Face does: bytes of a fallback in
// between come before it.
absl::Status Bpe::Characters(std::string_view word, std::vector<Symbol>* symbols) const {
  symbols->reserve(word.size());
  int32_t unknown = -1;
  const auto add = [symbols](int32_t id) { symbols->push_back({.id = id}); };
  for (size_t at = 0; at < word.size();) {
    const Utf8Char c = DecodeUtf8(word, at);
    const std::string_view bytes = word.substr(at, c.num_bytes);
    at += c.num_bytes;
    if (const auto found = character_ids_.find(c.code_point); found != character_ids_.end()) {
      if (unknown >= 0) add(unknown);
      unknown = -1;
      add(found->second);
      continue;
    }
    const auto has_token = [this](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
    if (!byte_ids_.empty() && std::all_of(bytes.begin(), bytes.end(), has_token)) {
      for (const char byte : bytes) add(byte_ids_[static_cast<uint8_t>(byte)]);
      continue;
    }
    if (unknown_token_.empty() || (unknown >= 0 && fuse_unknown_)) continue;
    if (unknown >= 0) add(unknown);
    unknown = vocabulary_.Find(unknown_token_).value_or(-1);
    if (unknown < 0) {
      return absl::InvalidArgumentError(absl::StrCat("'", std::string(bytes), "' has no token, and model.unk_token '",
                                                     unknown_token_, "' is not in model.vocab"));
    }
  }
  if (unknown >= 0) add(unknown);
  return absl::OkStatus();
}

void Bpe::MergeAll(std::vector<Symbol>* symbols) const {
  std::vector<Symbol>& s = *symbols;
  std::vector<Candidate> storage;
  storage.reserve(s.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(storage));
  const auto offer = [&](int32_t left) {
    const Merge* merge = FindMerge(s[left].id, s[s[left].next].id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->id});
  };
  for (int32_t i = 0; i < static_cast<int32_t>(s.size()); ++i) {
    s[i].previous = i - 1;
    s[i].next = i + 1 < static_cast<int32_t>(s.size()) ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(s.size()); ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = s[best.position];
    if (left.merged_away || left.next < 0) continue;
    Symbol& right = s[left.next];
    const Merge* merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;  // one of the two was merged since
    left.id = best.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next >= 0) s[left.next].previous = best.position;
    if (left.previous >= 0) offer(left.previous);
    if (left.next >= 0) offer(best.position);
  }
}

}  // namespace tandem
