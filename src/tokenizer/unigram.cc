#include "tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr double kUnknownPenalty = 10.0;  // SentencePiece's: below the worst piece

absl::Status NoUnknownPiece() {
  return absl::InvalidArgumentError("the text has a character without a piece, and model.unk_id is missing");
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> Unigram::Make(const Json& config) {
  std::unique_ptr<Unigram> unigram(new Unigram);
  RETURN_IF_ERROR(unigram->ReadPieces(config));
  const int32_t size = unigram->vocabulary_.end_id();
  ASSIGN_OR_RETURN(const int64_t unknown, ReadField<int64_t>(config, "model", "unk_id", -1));
  if (unknown >= size || (unknown < 0 && FindField(config, "unk_id") != nullptr)) {
    return absl::InvalidArgumentError(absl::StrCat("model.unk_id is ", unknown, ", want 0 to ", size - 1));
  }
  unigram->unknown_id_ = static_cast<int32_t>(unknown);
  ASSIGN_OR_RETURN(const bool byte_fallback, ReadField<bool>(config, "model", "byte_fallback", false));
  if (byte_fallback) unigram->byte_ids_ = FindByteTokens(unigram->vocabulary_);
  return unigram;
}

absl::Status Unigram::ReadPieces(const Json& config) {
  ASSIGN_OR_RETURN(const Json* pieces, ReadArray(config, "model", "vocab"));
  std::vector<std::pair<std::string, int64_t>> entries;
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < pieces->size(); ++i) {
    const Json& piece = (*pieces)[i];
    const bool fits = piece.is_array() && piece.size() == 2 && piece[0].is_string() && piece[1].is_number();
    if (!fits) return WrongType(absl::StrCat("model.vocab[", i, "]"), piece, "[piece, score]");
    entries.emplace_back(piece[0].get<std::string>(), i);
    scores_.push_back(piece[1].get<double>());
    lowest = std::min(lowest, scores_.back());
  }
  unknown_score_ = lowest - kUnknownPenalty;
  RETURN_IF_ERROR(Annotate(vocabulary_.Fill(std::move(entries)), "model.vocab"));
  piece_of_node_.assign(1, -1);
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) AddToTree(vocabulary_.TokenOf(id), id);
  return absl::OkStatus();
}

void Unigram::AddToTree(std::string_view piece, int32_t id) {
  if (piece.empty()) return;
  int32_t node = 0;
  for (const char byte : piece) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
    const auto [child, is_new] = children_.emplace(key, static_cast<int32_t>(piece_of_node_.size()));
    node = child->second;
    if (is_new) piece_of_node_.push_back(-1);
  }
  piece_of_node_[node] = id;
}

absl::Status Unigram::FindBest(std::string_view word, std::vector<Best>* best) const {
  best->assign(word.size() + 1, Best());
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    Best& target = (*best)[end];
    const double total = (*best)[begin].score + score;
    if (target.begin < 0 || total > target.score) target = {total, static_cast<int32_t>(begin), id};
  };
  for (size_t begin = 0; begin < word.size();) {
    const size_t next = begin + DecodeUtf8(word, begin).num_bytes;
    bool has_single = false;  // a piece for just this character
    int32_t node = 0;
    for (size_t end = begin; end < word.size();) {
      const auto child = children_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(word[end]));
      if (child == children_.end()) break;
      node = child->second;
      ++end;
      const int32_t id = piece_of_node_[node];
      if (id < 0) continue;
      offer(begin, end, scores_[id], id);
      has_single |= end == next;
    }
    if (!has_single) {
      if (unknown_id_ < 0) return NoUnknownPiece();
      offer(begin, next, unknown_score_, unknown_id_);
    }
    begin = next;
  }
  return absl::OkStatus();
}

absl::Status Unigram::Tokenize(std::string_view word, std::vector<int32_t>* ids) const {
  std::vector<Best> best;
  RETURN_IF_ERROR(FindBest(word, &best));
  std::vector<std::string_view> pieces;  // last first; neighbouring unknown characters are one piece
  bool was_unknown = false;
  for (size_t end = word.size(); end > 0; end = best[end].begin) {
    const std::string_view piece = word.substr(best[end].begin, end - best[end].begin);
    const bool is_unknown = best[end].id == unknown_id_;
    if (is_unknown && was_unknown) {
      pieces.back() = std::string_view(piece.data(), piece.size() + pieces.back().size());
    } else {
      pieces.push_back(piece);
    }
    was_unknown = is_unknown;
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) RETURN_IF_ERROR(AppendIds(*piece, ids));
  return absl::OkStatus();
}

absl::Status Unigram::AppendIds(std::string_view piece, std::vector<int32_t>* ids) const {
  if (const std::optional<int32_t> id = vocabulary_.Find(piece); id.has_value()) {
    ids->push_back(*id);
    return absl::OkStatus();
  }
  const auto has_id = [this](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
  if (!byte_ids_.empty() && std::all_of(piece.begin(), piece.end(), has_id)) {
    for (const char byte : piece) ids->push_back(byte_ids_[static_cast<uint8_t>(byte)]);
    return absl::OkStatus();
  }
  if (unknown_id_ < 0) return NoUnknownPiece();
  ids->push_back(unknown_id_);
  return absl::OkStatus();
}

}  // namespace tandem
