#include "tokenizer/decoder.h"

#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

using Tokens = std::vector<std::string>;

class JoinBySpaces : public DecodeStep {
 public:
  void Push(std::string token, Tokens* out) override {
    out->push_back(first_ ? std::move(token) : " " + token);
    first_ = false;
  }

 private:
  bool first_ = true;
};

class ByteLevelStep : public DecodeStep {
 public:
  void Push(std::string token, Tokens* out) override {
    pending_ += BytesOfByteLevel(token);
    const size_t whole = pending_.size() - UnfinishedUtf8Suffix(pending_);
    out->push_back(ReplaceInvalidUtf8(std::string_view(pending_).substr(0, whole)));
    pending_.erase(0, whole);
  }
  void Flush(Tokens* out) override { out->push_back(ReplaceInvalidUtf8(std::exchange(pending_, ""))); }

 private:
  std::string pending_;  // an unfinished character
};

// Tokens <0x00> to <0xFF> are bytes. A run of them that is not UTF-8 gives one U+FFFD for each, so the whole run must
// be known before anything of it is text.
class ByteFallbackStep : public DecodeStep {
 public:
  void Push(std::string token, Tokens* out) override {
    unsigned byte = 0;
    const char* const digits = token.data() + 3;
    const bool shaped = token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
    if (shaped && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      run_.push_back(static_cast<char>(byte));
      return;
    }
    Flush(out);
    out->push_back(std::move(token));
  }
  void Flush(Tokens* out) override {
    if (run_.empty()) return;
    if (FindInvalidUtf8(run_) == run_.npos) {
      out->push_back(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) out->push_back("\xEF\xBF\xBD");
    }
    run_.clear();
  }

 private:
  std::string run_;
};

class ReplaceStep : public DecodeStep {
 public:
  ReplaceStep(const Regex* pattern, std::string content) : scanner_(*pattern), content_(std::move(content)) {}
  void Push(std::string token, Tokens* out) override {
    std::string replaced;
    size_t at = 0;
    Regex::Match match;
    scanner_.Start(token);
    while (scanner_.Next(&match).value_or(false)) {
      replaced.append(token, at, match.begin - at).append(content_);
      at = match.end;
    }
    out->push_back(replaced.append(token, at));
  }

 private:
  Regex::Scanner scanner_;
  std::string content_;
};

// Takes up to `start` times `content` from the front of each token and `stop` times from its end; where tokens are
// fused, from the front of the whole text.
class StripStep : public DecodeStep {
 public:
  StripStep(std::string content, int64_t start, int64_t stop, bool fused)
      : content_(std::move(content)), start_(start), stop_(stop), fused_(fused) {}
  void Push(std::string token, Tokens* out) override {
    std::string_view text = token;
    int64_t* left = &start_;
    int64_t per_token = start_;
    if (!fused_) left = &per_token;
    for (; *left > 0 && text.starts_with(content_); --*left) text.remove_prefix(content_.size());
    if (!text.empty() && fused_) start_ = 0;
    for (int64_t i = 0; i < stop_ && text.ends_with(content_); ++i) text.remove_suffix(content_.size());
    out->emplace_back(text);
  }

 private:
  std::string content_;
  int64_t start_, stop_;
  bool fused_;
};

class MetaspaceStep : public DecodeStep {
 public:
  MetaspaceStep(std::string replacement, bool drops_first) : replacement_(std::move(replacement)), drop_(drops_first) {}
  void Push(std::string token, Tokens* out) override {
    std::string text;
    for (size_t at = 0; at < token.size();) {
      const bool is_space = token.compare(at, replacement_.size(), replacement_) == 0;
      if (is_space && !drop_) text.push_back(' ');
      if (!is_space) text.push_back(token[at]);
      at += is_space ? replacement_.size() : 1;
    }
    drop_ = false;
    out->push_back(std::move(text));
  }

 private:
  std::string replacement_;
  bool drop_;  // in the first token
};

std::string Joined(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace

Tokens DecodeChain::Through(size_t first_step, Tokens tokens) {
  for (size_t i = first_step; i < steps_.size(); ++i) {
    Tokens next;
    for (std::string& token : tokens) steps_[i]->Push(std::move(token), &next);
    tokens = std::move(next);
  }
  return tokens;
}

std::string DecodeChain::Push(std::string token) {
  Tokens tokens;
  tokens.push_back(std::move(token));
  return Joined(Through(0, std::move(tokens)));
}

std::string DecodeChain::Flush() {
  std::string text;
  for (size_t i = 0; i < steps_.size(); ++i) {
    Tokens rest;
    steps_[i]->Flush(&rest);
    text += Joined(Through(i + 1, std::move(rest)));
  }
  return text;
}

template <typename Step, typename... Args>
void Decoder::AddStep(Args... args) {
  factories_.push_back([args...] { return std::make_unique<Step>(args...); });
}

absl::StatusOr<Decoder> Decoder::Make(const Json* config) {
  Decoder decoder;
  if (config == nullptr) {
    decoder.AddStep<JoinBySpaces>();
  } else {
    RETURN_IF_ERROR(decoder.Add(*config, "decoder"));
  }
  return decoder;
}

DecodeChain Decoder::NewChain() const {
  std::vector<std::unique_ptr<DecodeStep>> steps;
  for (const StepFactory& factory : factories_) steps.push_back(factory());
  return DecodeChain(std::move(steps));
}

absl::Status Decoder::Add(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(config, path, "type"));
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Json* configs, ReadArray(config, path, "decoders"));
    for (size_t i = 0; i < configs->size(); ++i) {
      RETURN_IF_ERROR(Add((*configs)[i], absl::StrCat(path, ".decoders[", i, "]")));
    }
    return absl::OkStatus();
  }
  if (type == "Fuse") {
    fused_ = true;
    return absl::OkStatus();
  }
  if (type == "Strip") return AddStrip(config, path);
  if (fused_) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ".type is '", type, "' behind a step that joins all tokens, which is not supported"));
  }
  if (type == "ByteLevel") {
    fused_ = true;
    AddStep<ByteLevelStep>();
    return absl::OkStatus();
  }
  if (type == "ByteFallback") {
    AddStep<ByteFallbackStep>();
    return absl::OkStatus();
  }
  if (type == "Replace") return AddReplace(config, path);
  if (type == "Metaspace") return AddMetaspace(config, path);
  return NotSupported(path + ".type", type,
                      {"ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip", "Sequence"});
}

absl::Status Decoder::AddStrip(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadField<std::string>(config, path, "content"));
  ASSIGN_OR_RETURN(const int64_t start, ReadField<int64_t>(config, path, "start"));
  ASSIGN_OR_RETURN(const int64_t stop, ReadField<int64_t>(config, path, "stop"));
  if (CountCodePoints(content) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".content is '", content, "', want one character"));
  }
  if (start < 0 || stop < 0 || (fused_ && stop > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " takes ", start, " from the start and ", stop,
                                                   " from the end; negative counts, and the end of the whole text, "
                                                   "are not supported"));
  }
  AddStep<StripStep>(content, start, stop, fused_);
  return absl::OkStatus();
}

absl::Status Decoder::AddReplace(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const PatternConfig pattern, ReadPattern(config, path, "pattern"));
  ASSIGN_OR_RETURN(const std::string content, ReadField<std::string>(config, path, "content"));
  absl::StatusOr<Regex> regex = pattern.is_regex ? Regex::Compile(pattern.text) : Regex::Literal(pattern.text);
  if (!regex.ok()) return Annotate(regex.status(), path + ".pattern");
  // Shared: std::function must be copyable, and the chains only borrow it.
  const auto shared = std::make_shared<const Regex>(*std::move(regex));
  factories_.push_back([shared, content] { return std::make_unique<ReplaceStep>(shared.get(), content); });
  return absl::OkStatus();
}

absl::Status Decoder::AddMetaspace(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const MetaspaceConfig metaspace, ReadMetaspace(config, path));
  AddStep<MetaspaceStep>(metaspace.replacement, metaspace.prepend_scheme != "never");
  return absl::OkStatus();
}

}  // namespace tandem
