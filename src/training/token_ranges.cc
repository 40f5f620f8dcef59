#include "training/token_ranges.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";  // what unfinished characters decode to

// Tokens are taken in groups: the shortest runs that decode to whole characters. Most groups are one token.
class Aligner {
 public:
  Aligner(const Tokenizer& tokenizer, std::string_view text, std::span<const int32_t> tokens)
      : tokenizer_(tokenizer), text_(text), tokens_(tokens) {}

  absl::StatusOr<std::vector<ByteRange>> Run() {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const std::string decoded = Decode(group_, i + 1);
      while (!Place(i, decoded)) {
        if (group_text_ >= text_.size() || !absl::ascii_isspace(text_[group_text_])) return Mismatch(i, decoded);
        ++group_text_;
        whole_ = 0;
      }
    }
    return std::move(ranges_);
  }

 private:
  std::string Decode(size_t begin, size_t end) const {
    return tokenizer_.Decode(tokens_.subspan(begin, end - begin), /*skip_special_tokens=*/false);
  }

  // Appends the range of token i, the last of its group so far; false where the group does not fit the text here.
  bool Place(size_t i, std::string_view decoded) {
    const std::string_view rest = text_.substr(group_text_);
    const size_t begin = group_text_ + whole_;
    if (rest.starts_with(decoded) && IsWhole(i, decoded)) {
      ranges_.emplace_back(begin, group_text_ + decoded.size());
      group_text_ += decoded.size();
      group_ = i + 1;
      whole_ = 0;
      return true;
    }
    const std::optional<size_t> whole = UnfinishedMatch(rest, decoded);
    if (!whole.has_value()) return false;
    ranges_.emplace_back(begin, group_text_ + *whole + DecodeUtf8(rest, *whole).num_bytes);
    whole_ = *whole;
    return true;
  }

  // Text may hold a real U+FFFD: then the next token adds its own text to it, and completes nothing.
  bool IsWhole(size_t i, std::string_view decoded) const {
    if (!decoded.ends_with(kReplacement) || i + 1 == tokens_.size()) return true;
    return Decode(group_, i + 2) == std::string(decoded) + Decode(i + 1, i + 2);
  }

  // The bytes of whole characters in `decoded`, where the rest of it is the beginning of the text's next one.
  static std::optional<size_t> UnfinishedMatch(std::string_view rest, std::string_view decoded) {
    while (decoded.ends_with(kReplacement)) {
      decoded.remove_suffix(kReplacement.size());
      if (rest.starts_with(decoded) && rest.size() > decoded.size()) return decoded.size();
    }
    return std::nullopt;
  }

  absl::Status Mismatch(size_t i, const std::string& decoded) const {
    return absl::InvalidArgumentError(absl::StrCat("token ", i, " decodes to '", decoded,
                                                   "', which is not the text at byte ", group_text_,
                                                   ": cannot tell which tokens are the assistant's"));
  }

  const Tokenizer& tokenizer_;
  const std::string_view text_;
  const std::span<const int32_t> tokens_;

  size_t group_ = 0;       // first token of the group
  size_t group_text_ = 0;  // where the group's text begins
  size_t whole_ = 0;       // bytes of whole characters in the group before the token at hand
  std::vector<ByteRange> ranges_;
};

}  // namespace

absl::StatusOr<std::vector<ByteRange>> TokenByteRanges(const Tokenizer& tokenizer, std::string_view text,
                                                       std::span<const int32_t> tokens) {
  return Aligner(tokenizer, text, tokens).Run();
}

std::vector<bool> TokensWithin(std::span<const ByteRange> tokens, std::span<const ByteRange> wanted) {
  std::vector<bool> mask(tokens.size(), false);
  size_t w = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    while (w < wanted.size() && wanted[w].second <= tokens[i].first) ++w;
    for (size_t v = w; v < wanted.size() && wanted[v].first < tokens[i].second; ++v) {
      if (std::max(tokens[i].first, wanted[v].first) < std::min(tokens[i].second, wanted[v].second)) mask[i] = true;
    }
  }
  return mask;
}

}  // namespace tandem
