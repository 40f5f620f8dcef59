#include "tokenizer/pre_tokenizer.h"

#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/split.h"

namespace tandem {
namespace {

// OpenAI's GPT-2 expression, which ByteLevel applies where use_regex is set.
constexpr std::string_view kGpt2Words =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// Runs of word characters, and runs of what is neither those nor white space.
constexpr std::string_view kWordsAndSymbols = "[\\w\\p{Join_Control}]+|[^\\w\\p{Join_Control}\\s]+";
// Unicode's punctuation and ASCII's, to which symbols such as + and $ belong.
constexpr std::string_view kPunctuation = "[\\p{P}$+<=>^`|~]";

// Rewrites each word; `rewrite` appends what it makes of (text, starts_the_input) to the new text.
void Rewrite(Words* words, const std::function<void(std::string_view, bool, std::string*)>& rewrite) {
  std::string text;
  text.reserve(words->text.size() + words->text.size() / 2);
  for (Words::Word& word : words->words) {
    const size_t begin = text.size();
    rewrite(words->Text(word), word.starts_the_input, &text);
    word.begin = begin;
    word.end = text.size();
  }
  words->text = std::move(text);
}

class SplitStep : public PreTokenizer {
 public:
  explicit SplitStep(Splitter splitter) : splitter_(std::move(splitter)) {}
  absl::Status Apply(Words* words) const override { return splitter_.Apply(words); }

 private:
  Splitter splitter_;
};

class ByteLevelStep : public PreTokenizer {
 public:
  ByteLevelStep(bool add_prefix_space, std::optional<Splitter> splitter)
      : add_prefix_space_(add_prefix_space), splitter_(std::move(splitter)) {}

  absl::Status Apply(Words* words) const override {
    if (add_prefix_space_) {
      Rewrite(words, [](std::string_view text, bool, std::string* out) {
        if (!text.starts_with(' ')) out->push_back(' ');
        out->append(text);
      });
    }
    if (splitter_.has_value()) RETURN_IF_ERROR(splitter_->Apply(words));
    Rewrite(words, [](std::string_view text, bool, std::string* out) { AppendByteLevel(text, out); });
    return absl::OkStatus();
  }

 private:
  bool add_prefix_space_;
  std::optional<Splitter> splitter_;
};

class SequenceStep : public PreTokenizer {
 public:
  explicit SequenceStep(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  absl::Status Apply(Words* words) const override {
    for (const auto& step : steps_) RETURN_IF_ERROR(step->Apply(words));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

// Spaces become `replacement`, and a word begins at each of them.
class MetaspaceStep : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  MetaspaceStep(std::string replacement, Prepend prepend, std::optional<Splitter> splitter)
      : replacement_(std::move(replacement)), prepend_(prepend), splitter_(std::move(splitter)) {}

  absl::Status Apply(Words* words) const override {
    Rewrite(words, [this](std::string_view text, bool starts_the_input, std::string* out) {
      const bool prepends = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && starts_the_input);
      if (prepends && !text.starts_with(' ') && !text.starts_with(replacement_)) out->append(replacement_);
      for (const char c : text) c == ' ' ? out->append(replacement_) : out->append(1, c);
    });
    return splitter_.has_value() ? splitter_->Apply(words) : absl::OkStatus();
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  std::optional<Splitter> splitter_;
};

using Made = absl::StatusOr<std::unique_ptr<PreTokenizer>>;

absl::StatusOr<SplitBehavior> ReadBehavior(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string name, ReadField<std::string>(config, path, "behavior"));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return NotSupported(path + ".behavior", name,
                      {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"});
}

Made MakeSplit(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const PatternConfig pattern, ReadPattern(config, path, "pattern"));
  ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(config, path));
  ASSIGN_OR_RETURN(const bool invert, ReadField<bool>(config, path, "invert"));
  absl::StatusOr<Regex> regex = pattern.is_regex ? Regex::Compile(pattern.text) : Regex::Literal(pattern.text);
  if (!regex.ok()) return Annotate(regex.status(), path + ".pattern");
  return std::make_unique<SplitStep>(Splitter(*std::move(regex), behavior, invert));
}

Made MakeByteLevel(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const bool add_prefix_space, ReadField<bool>(config, path, "add_prefix_space"));
  ASSIGN_OR_RETURN(const bool use_regex, ReadField<bool>(config, path, "use_regex", true));
  std::optional<Splitter> splitter;
  if (use_regex) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Words));
    splitter.emplace(std::move(regex), SplitBehavior::kIsolated, /*invert=*/false);
  }
  return std::make_unique<ByteLevelStep>(add_prefix_space, std::move(splitter));
}

Made MakeFixedSplit(std::string_view pattern, SplitBehavior behavior, bool invert) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  return std::make_unique<SplitStep>(Splitter(std::move(regex), behavior, invert));
}

Made MakeDigits(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const bool individual, ReadField<bool>(config, path, "individual_digits"));
  return MakeFixedSplit("\\p{N}", individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, /*invert=*/false);
}

Made MakeMetaspace(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const MetaspaceConfig metaspace, ReadMetaspace(config, path));
  ASSIGN_OR_RETURN(const bool split, ReadField<bool>(config, path, "split", true));
  std::optional<Splitter> splitter;
  if (split) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Literal(metaspace.replacement));
    splitter.emplace(std::move(regex), SplitBehavior::kMergedWithNext, /*invert=*/false);
  }
  using Prepend = MetaspaceStep::Prepend;
  const Prepend prepend = metaspace.prepend_scheme == "always"  ? Prepend::kAlways
                          : metaspace.prepend_scheme == "first" ? Prepend::kFirst
                                                                : Prepend::kNever;
  return std::make_unique<MetaspaceStep>(metaspace.replacement, prepend, std::move(splitter));
}

Made MakePunctuation(const Json& config, const std::string& path) {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (FindField(config, "behavior") != nullptr) {
    ASSIGN_OR_RETURN(behavior, ReadBehavior(config, path));
  }
  return MakeFixedSplit(kPunctuation, behavior, /*invert=*/false);
}

Made MakeSequence(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const Json* configs, ReadArray(config, path, "pretokenizers"));
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < configs->size(); ++i) {
    ASSIGN_OR_RETURN(steps.emplace_back(),
                     MakePreTokenizer((*configs)[i], absl::StrCat(path, ".pretokenizers[", i, "]")));
  }
  return std::make_unique<SequenceStep>(std::move(steps));
}

}  // namespace

Made MakePreTokenizer(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(config, path, "type"));
  if (type == "ByteLevel") return MakeByteLevel(config, path);
  if (type == "Split") return MakeSplit(config, path);
  if (type == "Digits") return MakeDigits(config, path);
  if (type == "Sequence") return MakeSequence(config, path);
  if (type == "Metaspace") return MakeMetaspace(config, path);
  if (type == "Punctuation") return MakePunctuation(config, path);
  if (type == "Whitespace") return MakeFixedSplit(kWordsAndSymbols, SplitBehavior::kRemoved, /*invert=*/true);
  if (type == "WhitespaceSplit") return MakeFixedSplit("\\s", SplitBehavior::kRemoved, /*invert=*/false);
  return NotSupported(
      path + ".type", type,
      {"ByteLevel", "Split", "Digits", "Metaspace", "Punctuation", "Whitespace", "WhitespaceSplit", "Sequence"});
}

}  // namespace tandem
