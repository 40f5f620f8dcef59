// A byte-level tokenizer small enough to reckon with by hand: every byte is token 0..255, longer pieces follow, and the
// longest piece that fits wins. Pieces may split a character, as a real byte-level BPE's do.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace tandem {

class FakeTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kFirstPiece = 256;

  // pieces[i] becomes token kFirstPiece + i; those written like <this> are special.
  explicit FakeTokenizer(std::vector<std::string> pieces, std::string bos = "")
      : pieces_(std::move(pieces)), bos_(std::move(bos)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens special) const override {
    if (const size_t bad = FindInvalidUtf8(text); bad != text.npos) {
      return absl::InvalidArgumentError(absl::StrCat("invalid UTF-8 at byte ", bad));
    }
    std::vector<int32_t> ids;
    if (special == SpecialTokens::kAdd && !bos_.empty()) ids.push_back(*TokenToId(bos_));
    while (!text.empty()) {
      int32_t best = static_cast<uint8_t>(text[0]);
      size_t length = 1;
      for (size_t i = 0; i < pieces_.size(); ++i) {
        if (pieces_[i].size() <= length || !text.starts_with(pieces_[i])) continue;
        best = kFirstPiece + static_cast<int32_t>(i);
        length = pieces_[i].size();
      }
      ids.push_back(best);
      text.remove_prefix(length);
    }
    return ids;
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (!(skip_special_tokens && IsSpecial(id))) bytes += IdToToken(id);
    }
    return ReplaceInvalidUtf8(bytes);
  }

  int vocab_size() const override { return kFirstPiece + static_cast<int>(pieces_.size()); }
  std::optional<int32_t> TokenToId(std::string_view token) const override {
    for (size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i] == token) return kFirstPiece + static_cast<int32_t>(i);
    }
    return std::nullopt;
  }
  std::string IdToToken(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return "";
    return id < kFirstPiece ? std::string(1, static_cast<char>(id)) : pieces_[static_cast<size_t>(id - kFirstPiece)];
  }
  bool IsSpecial(int32_t id) const override { return id >= kFirstPiece && IdToToken(id).starts_with("<"); }

 private:
  const std::vector<std::string> pieces_;
  const std::string bos_;
};

}  // namespace tandem
