#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/token_bytes.h"
#include "tokenizer/token_model.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // indices of characters are 32 bits wide

// The pipeline of the tokenizers library: added tokens, normalizer, pre-tokenizer, model, post-processor; decoder for
// the way back.
class JsonTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(const Json& config);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens special) const override;
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int vocab_size() const override { return std::max(model_->vocabulary().end_id(), added_.end_id()); }
  std::optional<int32_t> TokenToId(std::string_view token) const override;
  std::string IdToToken(int32_t id) const override;
  bool IsSpecial(int32_t id) const override { return added_.IsSpecial(IdToToken(id)); }
  std::string TokenBytes(int32_t id) const override {
    return added_.Find(id) != nullptr ? IdToToken(id) : BytesOfToken(IdToToken(id), spelling_);
  }
  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const override;

 private:
  class Stream;
  JsonTokenizer() = default;
  absl::Status EncodeText(std::string_view text, bool starts_the_input, std::vector<int32_t>* ids) const;

  std::unique_ptr<Normalizer> normalizer_;  // null: text stays as it is
  AddedTokens added_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;  // null: the text is one word
  std::unique_ptr<TokenModel> model_;
  AddedIds special_ids_;
  Decoder decoder_;
  ByteSpelling spelling_;
};

class JsonTokenizer::Stream : public DecodeStream {
 public:
  Stream(const JsonTokenizer* tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens), chain_(tokenizer->decoder_.NewChain()) {}
  std::string Append(int32_t id) override {
    std::string token = tokenizer_->IdToToken(id);
    if (token.empty() || (skip_special_tokens_ && tokenizer_->added_.IsSpecial(token))) return "";
    return chain_.Push(std::move(token));
  }
  std::string Flush() override { return chain_.Flush(); }

 private:
  const JsonTokenizer* tokenizer_;
  bool skip_special_tokens_;
  DecodeChain chain_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> JsonTokenizer::Make(const Json& config) {
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(DescribeJson(config), ", want an object"));
  std::unique_ptr<JsonTokenizer> tokenizer(new JsonTokenizer);
  const Json* model = FindField(config, "model");
  if (model == nullptr) return absl::InvalidArgumentError("model is missing, want an object");
  ASSIGN_OR_RETURN(tokenizer->model_, MakeTokenModel(*model));
  if (const Json* normalizer = FindField(config, "normalizer"); normalizer != nullptr) {
    ASSIGN_OR_RETURN(tokenizer->normalizer_, MakeNormalizer(*normalizer, "normalizer"));
  }
  ASSIGN_OR_RETURN(tokenizer->added_, AddedTokens::Make(FindField(config, "added_tokens"),
                                                        tokenizer->model_->vocabulary(), tokenizer->normalizer_.get()));
  if (const Json* pre_tokenizer = FindField(config, "pre_tokenizer"); pre_tokenizer != nullptr) {
    ASSIGN_OR_RETURN(tokenizer->pre_tokenizer_, MakePreTokenizer(*pre_tokenizer, "pre_tokenizer"));
  }
  ASSIGN_OR_RETURN(tokenizer->special_ids_, ReadPostProcessor(FindField(config, "post_processor"), "post_processor"));
  ASSIGN_OR_RETURN(tokenizer->decoder_, Decoder::Make(FindField(config, "decoder")));
  tokenizer->spelling_ = FindByteSpelling(FindField(config, "decoder"));
  return tokenizer;
}

absl::StatusOr<std::vector<int32_t>> JsonTokenizer::Encode(std::string_view text, SpecialTokens special) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("text has ", text.size(), " bytes, want at most ", kMaxTextBytes));
  }
  if (const size_t invalid = FindInvalidUtf8(text); invalid != text.npos) {
    return absl::InvalidArgumentError(absl::StrCat("text is not UTF-8 at byte ", invalid));
  }
  std::vector<int32_t> ids;
  if (special == SpecialTokens::kAdd) ids = special_ids_.before;
  for (const AddedTokens::Segment& plain : added_.Split(text, /*normalized=*/false)) {
    if (plain.id >= 0) {
      ids.push_back(plain.id);
      continue;
    }
    std::string_view part = text.substr(plain.begin, plain.end - plain.begin);
    std::string normalized;
    if (normalizer_ != nullptr) {
      ASSIGN_OR_RETURN(normalized, normalizer_->Apply(part));
      part = normalized;
    }
    for (const AddedTokens::Segment& segment : added_.Split(part, /*normalized=*/true)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
        continue;
      }
      const bool starts_the_input = plain.begin == 0 && segment.begin == 0;
      RETURN_IF_ERROR(EncodeText(part.substr(segment.begin, segment.end - segment.begin), starts_the_input, &ids));
    }
  }
  if (special == SpecialTokens::kAdd) ids.insert(ids.end(), special_ids_.behind.begin(), special_ids_.behind.end());
  return ids;
}

absl::Status JsonTokenizer::EncodeText(std::string_view text, bool starts_the_input, std::vector<int32_t>* ids) const {
  Words words;
  words.text = text;
  words.words.push_back({0, text.size(), starts_the_input});
  if (pre_tokenizer_ != nullptr) RETURN_IF_ERROR(pre_tokenizer_->Apply(&words));
  for (const Words::Word& word : words.words) RETURN_IF_ERROR(model_->Tokenize(words.Text(word), ids));
  return absl::OkStatus();
}

std::string JsonTokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  Stream stream(this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += stream.Append(id);
  return text += stream.Flush();
}

std::optional<int32_t> JsonTokenizer::TokenToId(std::string_view token) const {
  const AddedToken* added = added_.Find(token);
  return added != nullptr ? added->id : model_->vocabulary().Find(token);
}

std::string JsonTokenizer::IdToToken(int32_t id) const {
  const AddedToken* added = added_.Find(id);
  return added != nullptr ? added->normalized_content : model_->vocabulary().TokenOf(id);
}

std::unique_ptr<DecodeStream> JsonTokenizer::NewDecodeStream(bool skip_special_tokens) const {
  return std::make_unique<Stream>(this, skip_special_tokens);
}

class SeparateIds : public DecodeStream {
 public:
  SeparateIds(const Tokenizer* tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}
  std::string Append(int32_t id) override { return tokenizer_->Decode({&id, 1}, skip_special_tokens_); }
  std::string Flush() override { return ""; }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
};

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::NewDecodeStream(bool skip_special_tokens) const {
  return std::make_unique<SeparateIds>(this, skip_special_tokens);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<Json> config = ParseJson(text);
  if (!config.ok()) return Annotate(config.status(), path);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = JsonTokenizer::Make(*config);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

}  // namespace tandem
