#include "tokenizer/normalizer.h"

#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/normalization.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

using Made = absl::StatusOr<std::unique_ptr<Normalizer>>;

// A normalizer that cannot fail.
class Mapping : public Normalizer {
 public:
  explicit Mapping(std::function<std::string(std::string_view)> map) : map_(std::move(map)) {}
  absl::StatusOr<std::string> Apply(std::string_view text) const override { return map_(text); }

 private:
  std::function<std::string(std::string_view)> map_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::StatusOr<std::string> Apply(std::string_view text) const override {
    Regex::Scanner scanner(pattern_);
    scanner.Start(text);
    std::string out;
    out.reserve(text.size());
    size_t at = 0;
    Regex::Match match;
    while (true) {
      ASSIGN_OR_RETURN(const bool found, scanner.Next(&match));
      if (!found) break;
      out.append(text.substr(at, match.begin - at)).append(content_);
      at = match.end;
    }
    return out.append(text.substr(at));
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  absl::StatusOr<std::string> Apply(std::string_view text) const override {
    std::string normalized(text);
    for (const auto& step : steps_) {
      ASSIGN_OR_RETURN(normalized, step->Apply(normalized));
    }
    return normalized;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::string StripSpace(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Char c = DecodeUtf8(text, 0);
    if (!IsWhiteSpace(c.code_point)) break;
    text.remove_prefix(c.num_bytes);
  }
  while (right && !text.empty()) {
    const size_t last = LastCharacter(text);
    if (!IsWhiteSpace(DecodeUtf8(text, last).code_point)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::unique_ptr<Normalizer> MakeForm(NormalizationForm form) {
  return std::make_unique<Mapping>([form](std::string_view text) { return NormalizeUnicode(text, form); });
}

Made MakeSequence(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const Json* configs, ReadArray(config, path, "normalizers"));
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (size_t i = 0; i < configs->size(); ++i) {
    ASSIGN_OR_RETURN(steps.emplace_back(), MakeNormalizer((*configs)[i], absl::StrCat(path, ".normalizers[", i, "]")));
  }
  return std::make_unique<Sequence>(std::move(steps));
}

Made MakeReplace(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const PatternConfig pattern, ReadPattern(config, path, "pattern"));
  ASSIGN_OR_RETURN(std::string content, ReadField<std::string>(config, path, "content"));
  absl::StatusOr<Regex> regex = pattern.is_regex ? Regex::Compile(pattern.text) : Regex::Literal(pattern.text);
  if (!regex.ok()) return Annotate(regex.status(), path + ".pattern");
  return std::make_unique<Replace>(*std::move(regex), std::move(content));
}

Made MakePrepend(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string prefix, ReadField<std::string>(config, path, "prepend"));
  return std::make_unique<Mapping>(
      [prefix](std::string_view text) { return text.empty() ? std::string() : prefix + std::string(text); });
}

Made MakeStrip(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const bool left, ReadField<bool>(config, path, "strip_left"));
  ASSIGN_OR_RETURN(const bool right, ReadField<bool>(config, path, "strip_right"));
  return std::make_unique<Mapping>([left, right](std::string_view text) { return StripSpace(text, left, right); });
}

}  // namespace

Made MakeNormalizer(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(config, path, "type"));
  if (type == "NFC") return MakeForm(NormalizationForm::kNfc);
  if (type == "NFD") return MakeForm(NormalizationForm::kNfd);
  if (type == "NFKC") return MakeForm(NormalizationForm::kNfkc);
  if (type == "NFKD") return MakeForm(NormalizationForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Mapping>(LowerCharacters);
  if (type == "Replace") return MakeReplace(config, path);
  if (type == "Prepend") return MakePrepend(config, path);
  if (type == "Strip") return MakeStrip(config, path);
  if (type == "Sequence") return MakeSequence(config, path);
  if (type == "ByteLevel") {
    return std::make_unique<Mapping>([](std::string_view text) {
      std::string out;
      AppendByteLevel(text, &out);
      return out;
    });
  }
  return NotSupported(
      path + ".type", type,
      {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Replace", "Prepend", "Strip", "Sequence", "ByteLevel"});
}

}  // namespace tandem
