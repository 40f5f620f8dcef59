#include "training/sample_encoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"

namespace tandem {
namespace {

enum class GenerationPrompt { kNo, kYes };

// The template over the first `num_messages`.
absl::StatusOr<RenderedChat> Render(const ChatTemplate& chat_template, const ChatSample& sample, size_t num_messages,
                                    GenerationPrompt prompt) {
  Json messages = Json::array();
  for (size_t i = 0; i < num_messages; ++i) {
    messages.push_back({{"role", sample.messages[i].role}, {"content", sample.messages[i].content}});
  }
  absl::StatusOr<RenderedChat> chat = chat_template.Render(
      {{"messages", std::move(messages)}, {"add_generation_prompt", prompt == GenerationPrompt::kYes}});
  if (!chat.ok()) return Annotate(chat.status(), "the chat template refuses the messages");
  return chat;
}

}  // namespace

SampleEncoder::SampleEncoder(const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                             std::optional<int32_t> end_token, LossMask loss_mask)
    : tokenizer_(tokenizer), chat_template_(chat_template), end_token_(end_token), loss_mask_(loss_mask) {}

absl::StatusOr<EncodedSample> SampleEncoder::Encode(const ParsedSample& sample) const {
  if (const auto* chat = std::get_if<ChatSample>(&sample)) return EncodeChat(*chat);
  if (const auto* completion = std::get_if<CompletionSample>(&sample)) return EncodeCompletion(*completion);
  return EncodeText(std::get<TextSample>(sample));
}

absl::StatusOr<EncodedSample> SampleEncoder::EncodeChat(const ChatSample& sample) const {
  if (chat_template_ == nullptr) {
    return absl::InvalidArgumentError(
        R"(messages need a chat template and the model has none, want {"prompt", "completion"} or {"text"})");
  }
  ASSIGN_OR_RETURN(const RenderedChat chat,
                   Render(*chat_template_, sample, sample.messages.size(), GenerationPrompt::kNo));
  EncodedSample encoded;
  ASSIGN_OR_RETURN(encoded.tokens, tokenizer_->Encode(chat.text, SpecialTokens::kNone));
  if (loss_mask_ == LossMask::kAll) {
    encoded.learned.assign(encoded.tokens.size(), true);
    return encoded;
  }
  ASSIGN_OR_RETURN(const std::vector<ByteRange> wanted, AssistantRanges(sample, chat));
  ASSIGN_OR_RETURN(const std::vector<ByteRange> ranges, TokenByteRanges(*tokenizer_, chat.text, encoded.tokens));
  encoded.learned = TokensWithin(ranges, wanted);
  return encoded;
}

absl::StatusOr<std::vector<ByteRange>> SampleEncoder::AssistantRanges(const ChatSample& sample,
                                                                      const RenderedChat& chat) const {
  if (chat_template_->has_generation_blocks()) return chat.generation_ranges;
  std::vector<ByteRange> ranges;
  for (size_t i = 0; i < sample.messages.size(); ++i) {
    if (sample.messages[i].role != "assistant") continue;
    ASSIGN_OR_RETURN(const RenderedChat before, Render(*chat_template_, sample, i, GenerationPrompt::kYes));
    ASSIGN_OR_RETURN(const RenderedChat after, Render(*chat_template_, sample, i + 1, GenerationPrompt::kNo));
    if (!after.text.starts_with(before.text) || !chat.text.starts_with(after.text)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the chat template has no {% generation %} blocks and renders the text before messages[", i,
          "] differently once later messages follow, so the assistant's tokens cannot be found; want loss mask 'all'"));
    }
    ranges.emplace_back(before.text.size(), after.text.size());
  }
  return ranges;
}

absl::StatusOr<EncodedSample> SampleEncoder::EncodeCompletion(const CompletionSample& sample) const {
  EncodedSample encoded;
  ASSIGN_OR_RETURN(encoded.tokens, tokenizer_->Encode(sample.prompt, SpecialTokens::kAdd));
  encoded.learned.assign(encoded.tokens.size(), loss_mask_ == LossMask::kAll);
  ASSIGN_OR_RETURN(const std::vector<int32_t> completion, tokenizer_->Encode(sample.completion, SpecialTokens::kNone));
  encoded.tokens.insert(encoded.tokens.end(), completion.begin(), completion.end());
  if (end_token_.has_value()) encoded.tokens.push_back(*end_token_);
  encoded.learned.resize(encoded.tokens.size(), true);
  return encoded;
}

absl::StatusOr<EncodedSample> SampleEncoder::EncodeText(const TextSample& sample) const {
  EncodedSample encoded;
  ASSIGN_OR_RETURN(encoded.tokens, tokenizer_->Encode(sample.text, SpecialTokens::kAdd));
  if (end_token_.has_value()) encoded.tokens.push_back(*end_token_);
  encoded.learned.assign(encoded.tokens.size(), true);
  return encoded;
}

}  // namespace tandem
