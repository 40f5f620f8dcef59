// Byte-pair encoding: a word starts as its characters; the neighbours whose merge ranks first are joined until none can
// be.
#pragma once

#include "absl/container/flat_hash_map.h"
#include "tokenizer/token_model.h"

namespace tandem {

class Bpe : public TokenModel {
 public:
  static absl::StatusOr<std::unique_ptr<TokenModel>> Make(const Json& config);

  // O(n log n) in the characters of the word.
  absl::Status Tokenize(std::string_view word, std::vector<int32_t>* ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank = 0, id = 0;
  };
  struct Symbol {
    int32_t id = 0;
    int32_t previous = -1, next = -1;  // indices; -1 at the ends
    bool merged_away = false;
  };

  Bpe() = default;
  absl::Status ReadOptions(const Json& config);
  absl::Status ReadMerges(const Json& config);
  absl::Status AddMerge(const std::string& path, std::string_view left, std::string_view right);
  absl::Status Characters(std::string_view word, std::vector<Symbol>* symbols) const;
  void MergeAll(std::vector<Symbol>* symbols) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;

  Vocabulary vocabulary_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // key: left id << 32 | right id
  absl::flat_hash_map<char32_t, int32_t> character_ids_;
  std::vector<int32_t> byte_ids_;  // [256] the tokens <0x00> ... <0xFF>, -1 where missing; empty without byte_fallback
  std::string unknown_token_;      // "": characters without a token vanish
  bool fuse_unknown_ = false;      // neighbouring unknown characters give one token
  bool ignore_merges_ = false;     // a word that is a token needs no merging
};

}  // namespace tandem
