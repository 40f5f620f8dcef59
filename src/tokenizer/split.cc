#include "tokenizer/split.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tandem {
namespace {

struct Piece {
  size_t begin = 0, end = 0;
  bool is_match = false;
};

// The whole of `text` as matches and what lies between them.
absl::Status FindPieces(Regex::Scanner* scanner, std::string_view text, bool invert, std::vector<Piece>* pieces) {
  pieces->clear();
  scanner->Start(text);
  size_t at = 0;
  Regex::Match match;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, scanner->Next(&match));
    if (!found) break;
    if (at != match.begin) pieces->push_back({at, match.begin, invert});
    pieces->push_back({match.begin, match.end, !invert});
    at = match.end;
  }
  if (at != text.size()) pieces->push_back({at, text.size(), invert});
  return absl::OkStatus();
}

// Joins neighbours as `behavior` says; the result's is_match means "to be removed".
void Join(SplitBehavior behavior, std::vector<Piece>* pieces) {
  std::vector<Piece> joined;
  joined.reserve(pieces->size());
  bool previous = false;  // was the piece before a match
  const auto add = [&](const Piece& piece, bool join) {
    if (join && !joined.empty()) {
      joined.back().begin = std::min(joined.back().begin, piece.begin);
      joined.back().end = std::max(joined.back().end, piece.end);
    } else {
      joined.push_back({piece.begin, piece.end, false});
    }
    previous = piece.is_match;
  };
  switch (behavior) {
    case SplitBehavior::kRemoved:
      return;
    case SplitBehavior::kIsolated:
      for (Piece& piece : *pieces) piece.is_match = false;
      return;
    case SplitBehavior::kContiguous:
      for (const Piece& piece : *pieces) add(piece, piece.is_match == previous);
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Piece& piece : *pieces) add(piece, piece.is_match && !previous);
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto piece = pieces->rbegin(); piece != pieces->rend(); ++piece) {
        add(*piece, piece->is_match && !previous);
      }
      std::reverse(joined.begin(), joined.end());
      break;
  }
  *pieces = std::move(joined);
}

}  // namespace

absl::Status Splitter::Apply(Words* words) const {
  Regex::Scanner scanner(regex_);
  std::vector<Words::Word> cut;
  cut.reserve(words->words.size());
  std::vector<Piece> pieces;
  for (const Words::Word& word : words->words) {
    RETURN_IF_ERROR(FindPieces(&scanner, words->Text(word), invert_, &pieces));
    Join(behavior_, &pieces);
    for (const Piece& piece : pieces) {
      if (piece.is_match || piece.begin == piece.end) continue;
      cut.push_back({word.begin + piece.begin, word.begin + piece.end, word.starts_the_input && piece.begin == 0});
    }
  }
  words->words = std::move(cut);
  return absl::OkStatus();
}

}  // namespace tandem
