// Unigram (SentencePiece): of all ways to cut a word into known pieces, the one whose scores sum highest (Viterbi).
#pragma once

#include "absl/container/flat_hash_map.h"
#include "tokenizer/token_model.h"

namespace tandem {

class Unigram : public TokenModel {
 public:
  static absl::StatusOr<std::unique_ptr<TokenModel>> Make(const Json& config);

  // O(n * length of the longest piece).
  absl::Status Tokenize(std::string_view word, std::vector<int32_t>* ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  // The best way to cut the text up to a byte: its score, and its last piece.
  struct Best {
    double score = 0;
    int32_t begin = -1;  // of the last piece; -1: no way found yet
    int32_t id = 0;
  };

  Unigram() = default;
  absl::Status ReadPieces(const Json& config);
  void AddToTree(std::string_view piece, int32_t id);
  absl::Status FindBest(std::string_view word, std::vector<Best>* best) const;
  absl::Status AppendIds(std::string_view piece, std::vector<int32_t>* ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;                       // by id
  absl::flat_hash_map<uint64_t, int32_t> children_;  // prefix tree: node << 8 | byte -> node; 0 is the root
  std::vector<int32_t> piece_of_node_;               // -1: no piece ends here
  std::vector<int32_t> byte_ids_;                    // [256] the pieces <0x00> ... <0xFF>; empty without byte_fallback
  int32_t unknown_id_ = -1;
  double unknown_score_ = 0;
};

}  // namespace tandem
