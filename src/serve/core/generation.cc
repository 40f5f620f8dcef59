#include "serve/core/generation.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/names.h"
#include "base/status.h"
#include "serve/core/access.h"
#include "serve/core/token_rules.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

constexpr double kMaxTargetMs = 24 * 3600 * 1000.0;

const std::vector<std::string>& KnownRoles() {
  static const auto* const roles = new std::vector<std::string>{"system", "user", "assistant", "tool"};
  return *roles;
}

absl::Status CheckMessage(const ChatMessage& message, size_t index) {
  const std::string field = absl::StrCat("messages[", index, "]");
  if (std::find(KnownRoles().begin(), KnownRoles().end(), message.role) == KnownRoles().end()) {
    RETURN_IF_ERROR(CheckUtf8(absl::StrCat(field, ".role"), message.role));
    return absl::InvalidArgumentError(absl::StrCat(field, ".role is '", message.role.substr(0, 80),
                                                   "', want system, user, assistant or tool",
                                                   SuggestNames(message.role, KnownRoles())));
  }
  return CheckUtf8(absl::StrCat(field, ".content"), message.content);
}

absl::StatusOr<std::optional<absl::Duration>> ResolveTarget(const char* name, std::optional<double> ms) {
  if (!ms.has_value()) return std::nullopt;
  if (*ms > 0 && *ms <= kMaxTargetMs) return absl::Milliseconds(*ms);
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", *ms, ", want more than 0, at most ", kMaxTargetMs));
}

}  // namespace

GenerationHandler::GenerationHandler(ModelFrontEnd model, InferenceApi* api, std::function<uint64_t()> random)
    : model_(std::move(model)),
      api_(api),
      random_(std::move(random)),
      structures_(model_.tokenizer, model_.defaults.eos_token_ids, model_.vocab) {
  CHECK(model_.tokenizer != nullptr);
  CHECK_GE(model_.max_context, 2);
  CHECK_GE(model_.vocab, 1);
}

absl::StatusOr<GenerateRequest> GenerationHandler::Resolve(const GenerationInput& input) {
  GenerateRequest request;
  ASSIGN_OR_RETURN(request.sampling, ResolveSampling(input));
  ASSIGN_OR_RETURN(request.stop, ResolveStop(input));
  RETURN_IF_ERROR(CheckUtf8("adapter", input.adapter));
  ASSIGN_OR_RETURN(request.prompt, Tokenize(input.prompt, SpecialTokens::kAdd));
  ASSIGN_OR_RETURN(request.stop.max_tokens, ResolveMaxTokens(input.max_tokens, request.prompt.size()));
  RETURN_IF_ERROR(ResolveQueueing(input, request));
  ASSIGN_OR_RETURN(request.stop.min_tokens, ResolveMinTokens(input, request.stop.max_tokens));
  RETURN_IF_ERROR(CheckLogprobs("prompt_logprobs", input.prompt_logprobs));
  request.prompt_logprobs = input.prompt_logprobs;
  request.num_completions = input.n.value_or(1);
  RETURN_IF_ERROR(CheckRange("n", request.num_completions, 1, kMaxCompletions));
  RETURN_IF_ERROR(CheckRange("prompt_lookup_tokens", input.prompt_lookup_tokens.value_or(0), 0, kMaxDrafts));
  request.max_drafts = input.prompt_lookup_tokens;
  request.adapter = input.adapter;
  request.skip_special_tokens = input.skip_special_tokens;
  ASSIGN_OR_RETURN(request.ttft, ResolveTarget("ttft_ms", input.ttft_ms));
  ASSIGN_OR_RETURN(request.tpot, ResolveTarget("tpot_ms", input.tpot_ms));
  if (input.structure.has_value()) {
    // Only an end token may follow a complete text, and it has to end it.
    if (input.ignore_eos) return absl::InvalidArgumentError("ignore_eos with structured output, want one of them");
    ASSIGN_OR_RETURN(request.structure, structures_.Compile(*input.structure));
  }
  ASSIGN_OR_RETURN(request.request_id, ResolveId(input.request_id));
  return request;
}

absl::StatusOr<std::string> GenerationHandler::ResolveId(const std::string& asked) {
  if (asked.empty()) return absl::StrCat("gen-", next_request_.fetch_add(1));
  RETURN_IF_ERROR(CheckRequestId(asked));
  return asked;
}

absl::StatusOr<std::vector<GenerateRequest>> GenerationHandler::ResolveEmbedding(const EmbeddingInput& input) {
  RETURN_IF_ERROR(CheckRange("the number of inputs", input.inputs.size(), size_t{1}, kMaxEmbeddingInputs));
  GenerateRequest common;
  RETURN_IF_ERROR(CheckUtf8("adapter", input.adapter));
  RETURN_IF_ERROR(ResolveQueueing(input, common));
  common.adapter = input.adapter;
  common.pooling = input.pooling;
  common.stop.max_tokens = 0;
  ASSIGN_OR_RETURN(const std::string id, ResolveId(input.request_id));
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < input.inputs.size(); ++i) {
    const std::string field = absl::StrCat("inputs[", i, "]");
    absl::StatusOr<std::vector<int32_t>> tokens =
        TokenizeAs(input.inputs[i], SpecialTokens::kAdd, ChatEnd::kLastMessage);
    if (!tokens.ok()) return Annotate(tokens.status(), field);
    if (tokens->size() > static_cast<size_t>(model_.max_context)) {
      return absl::InvalidArgumentError(absl::StrCat(field, " has ", tokens->size(), " tokens, want at most ",
                                                     model_.max_context, ": what the context holds"));
    }
    GenerateRequest& request = requests.emplace_back(common);
    request.prompt = *std::move(tokens);
    request.request_id = absl::StrCat(id, "#", i);
  }
  return requests;
}

absl::Status GenerationHandler::Start(GenerateRequest request, std::shared_ptr<GenerationSink> sink) {
  return api_->Generate(std::move(request), std::move(sink));
}

absl::StatusOr<std::vector<int32_t>> GenerationHandler::Encode(std::string_view text, SpecialTokens special) const {
  const size_t limit = static_cast<size_t>(model_.max_context) * kMaxBytesPerToken;
  if (text.size() > limit) {
    return absl::InvalidArgumentError(absl::StrCat("prompt has ", text.size(), " bytes, want at most ", limit,
                                                   ": the context holds ", model_.max_context, " tokens"));
  }
  return model_.tokenizer->Encode(text, special);
}

absl::StatusOr<std::string> GenerationHandler::Detokenize(const std::vector<int32_t>& ids,
                                                          bool skip_special_tokens) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    RETURN_IF_ERROR(CheckRange(absl::StrCat("ids[", i, "]"), ids[i], 0, model_.tokenizer->vocab_size() - 1));
  }
  return model_.tokenizer->Decode(ids, skip_special_tokens);
}

absl::StatusOr<std::vector<int32_t>> GenerationHandler::Tokenize(const Prompt& prompt, SpecialTokens special) const {
  return TokenizeAs(prompt, special, ChatEnd::kAnswerBegins);
}

absl::StatusOr<std::vector<int32_t>> GenerationHandler::TokenizeAs(const Prompt& prompt, SpecialTokens special,
                                                                   ChatEnd end) const {
  std::vector<int32_t> tokens;
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    if (text->empty()) return absl::InvalidArgumentError("prompt text is empty, want at least one character");
    RETURN_IF_ERROR(CheckUtf8("prompt text", *text));
    ASSIGN_OR_RETURN(tokens, Encode(*text, special));
  } else if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
    tokens = *ids;
  } else if (const auto* messages = std::get_if<std::vector<ChatMessage>>(&prompt)) {
    ASSIGN_OR_RETURN(const std::string text, RenderChat(*messages, end));
    ASSIGN_OR_RETURN(tokens, Encode(text, SpecialTokens::kNone));
  } else {
    return absl::InvalidArgumentError("prompt is missing, want text, tokens or chat messages");
  }
  if (tokens.empty()) return absl::InvalidArgumentError("prompt has 0 tokens, want at least 1");
  return tokens;
}

absl::StatusOr<std::string> GenerationHandler::RenderChat(const std::vector<ChatMessage>& messages, ChatEnd end) const {
  if (messages.empty()) return absl::InvalidArgumentError("chat has 0 messages, want at least 1");
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(CheckMessage(messages[i], i));
    list.push_back({{"role", messages[i].role}, {"content", messages[i].content}});
  }
  if (model_.chat_template == nullptr) {
    return absl::FailedPreconditionError("the model has no chat template, want a prompt of text or tokens");
  }
  absl::StatusOr<RenderedChat> chat = model_.chat_template->Render(
      {{"messages", std::move(list)}, {"add_generation_prompt", end == ChatEnd::kAnswerBegins}});
  if (!chat.ok()) return Annotate(chat.status(), "chat template");
  return std::move(chat->text);
}

absl::StatusOr<int> GenerationHandler::ResolveMaxTokens(std::optional<int> asked, size_t prompt_tokens) const {
  const int context = model_.max_context;
  if (prompt_tokens >= static_cast<size_t>(context)) {
    return absl::InvalidArgumentError(absl::StrCat("prompt has ", prompt_tokens, " tokens, want at most ", context - 1,
                                                   ": the context holds ", context, " with the completion"));
  }
  const int left = context - static_cast<int>(prompt_tokens);
  if (!asked.has_value()) return std::min(left, model_.defaults.max_tokens.value_or(kDefaultMaxTokens));
  if (*asked >= 1 && *asked <= left) return *asked;
  return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", *asked, ", want 1 to ", left, ": the prompt has ",
                                                 prompt_tokens, " tokens, the context holds ", context));
}

absl::StatusOr<int> GenerationHandler::ResolveMinTokens(const GenerationInput& input, int max_tokens) const {
  if (!input.min_tokens.has_value()) return std::min(max_tokens, model_.defaults.min_tokens);
  RETURN_IF_ERROR(CheckRange("min_tokens", *input.min_tokens, 0, max_tokens));
  return *input.min_tokens;
}

absl::StatusOr<SamplingParams> GenerationHandler::ResolveSampling(const GenerationInput& input) const {
  SamplingParams params;
  params.temperature = input.temperature.value_or(model_.defaults.temperature);
  params.top_k = input.top_k.value_or(model_.defaults.top_k);
  params.top_p = input.top_p.value_or(model_.defaults.top_p);
  RETURN_IF_ERROR(CheckTemperature(params.temperature));
  RETURN_IF_ERROR(CheckRange("top_k", params.top_k, 0, std::numeric_limits<int>::max()));
  RETURN_IF_ERROR(CheckTopP(params.top_p));
  params.min_p = input.min_p.value_or(model_.defaults.min_p);
  params.typical_p = input.typical_p.value_or(model_.defaults.typical_p);
  params.repetition_penalty = input.repetition_penalty.value_or(model_.defaults.repetition_penalty);
  params.presence_penalty = input.presence_penalty.value_or(0.0f);
  params.frequency_penalty = input.frequency_penalty.value_or(0.0f);
  RETURN_IF_ERROR(CheckMinP(params.min_p));
  RETURN_IF_ERROR(CheckTypicalP(params.typical_p));
  RETURN_IF_ERROR(CheckRepetitionPenalty(params.repetition_penalty));
  RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2.0f, 2.0f));
  RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2.0f, 2.0f));
  RETURN_IF_ERROR(CheckLogprobs("logprobs", input.logprobs));
  params.num_logprobs = input.logprobs;
  ASSIGN_OR_RETURN(params.rules,
                   ResolveTokenRules(input, model_.defaults.bad_token_sequences, *model_.tokenizer, model_.vocab));
  params.seed = input.seed.has_value() ? *input.seed : random_();
  return params;
}

template <typename Input>
absl::Status GenerationHandler::ResolveQueueing(const Input& input, GenerateRequest& request) {
  const auto check = [](std::string_view field, const std::string& text) {
    if (text.size() <= kMaxTenantBytes) return CheckUtf8(field, text);
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), " has ", text.size(), " bytes, want at most ", kMaxTenantBytes));
  };
  RETURN_IF_ERROR(CheckRange("priority", input.priority, -kMaxPriority, kMaxPriority));
  RETURN_IF_ERROR(check("tenant", input.tenant));
  RETURN_IF_ERROR(check("cache_salt", input.cache_salt));
  request.priority = input.priority;
  request.tenant = input.tenant;
  request.cache_salt = input.cache_salt;
  return absl::OkStatus();
}

absl::StatusOr<StopConditions> GenerationHandler::ResolveStop(const GenerationInput& input) const {
  if (input.stop.size() > kMaxStopStrings) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop has ", input.stop.size(), " strings, want at most ", kMaxStopStrings));
  }
  for (size_t i = 0; i < input.stop.size(); ++i) {
    const std::string field = absl::StrCat("stop[", i, "]");
    if (input.stop[i].empty()) return absl::InvalidArgumentError(absl::StrCat(field, " is empty, want a string"));
    if (input.stop[i].size() > kMaxStopBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, " has ", input.stop[i].size(), " bytes, want at most ", kMaxStopBytes));
    }
    RETURN_IF_ERROR(CheckUtf8(field, input.stop[i]));
  }
  if (input.stop_token_ids.size() > kMaxStopTokenIds) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop_token_ids has ", input.stop_token_ids.size(), " ids, want at most ", kMaxStopTokenIds));
  }
  StopConditions stop;
  stop.stop = input.stop;
  stop.include_stop_in_text = input.include_stop_in_text;
  stop.stop_token_ids = input.stop_token_ids;
  for (size_t i = 0; i < stop.stop_token_ids.size(); ++i) {
    RETURN_IF_ERROR(CheckTokenId(absl::StrCat("stop_token_ids[", i, "]"), stop.stop_token_ids[i], model_.vocab));
  }
  if (!input.ignore_eos) {
    for (const int32_t eos : model_.defaults.eos_token_ids) {
      if (eos < model_.vocab) stop.stop_token_ids.push_back(eos);  // one beyond is never drawn
    }
  }
  return stop;
}

}  // namespace tandem
