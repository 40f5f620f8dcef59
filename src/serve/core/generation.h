// Generation as every front end offers it: a request with optional fields in, a complete one for the engine out. Here
// defaults are resolved, values checked, text tokenized.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "serve/core/generation_defaults.h"
#include "serve/core/structures.h"
#include "tandem/api.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  std::string content;
};

// Text, token ids or a chat; none: refused.
using Prompt = std::variant<std::monostate, std::string, std::vector<int32_t>, std::vector<ChatMessage>>;

// What a client may say; unset fields are resolved (request, model's generation_config.json, documented default).
struct GenerationInput {
  Prompt prompt;
  std::string request_id;  // "": one is made up
  std::string adapter;
  std::optional<float> temperature, top_p;
  std::optional<int> top_k;
  std::optional<float> min_p, typical_p, presence_penalty, frequency_penalty, repetition_penalty;
  std::vector<TokenBias> logit_bias;       // each token once
  std::vector<int32_t> allowed_token_ids;  // empty: all
  std::vector<std::string> bad_words;
  std::vector<std::vector<int32_t>> bad_token_sequences;
  std::optional<int> logprobs, prompt_logprobs;
  std::optional<int> n;                     // completions
  std::optional<int> prompt_lookup_tokens;  // guessed ahead at most
  std::optional<uint64_t> seed;
  std::optional<int> max_tokens, min_tokens;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop_in_text = false;
  bool skip_special_tokens = true;
  int priority = 0;
  std::string tenant, cache_salt;
  std::optional<double> ttft_ms, tpot_ms;   // latency targets
  std::optional<StructureInput> structure;  // of the completion
};

struct EmbeddingInput {
  std::vector<Prompt> inputs;
  std::string request_id;  // "": one is made up
  std::string adapter;
  Pooling pooling = Pooling::kLastToken;
  int priority = 0;
  std::string tenant, cache_salt;
};

// The served model as the front ends know it. Pointers are borrowed.
struct ModelFrontEnd {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none, chat prompts are refused
  GenerationDefaults defaults;
  int max_context = 0;  // tokens, prompt and completion together
  int vocab = 0;        // logits of the model: token ids are below
};

// Thread-safe.
class GenerationHandler {
 public:
  static constexpr int kDefaultMaxTokens = 256;
  // No token of a real vocabulary stands for more: a longer text cannot fit and is refused before it is tokenized.
  static constexpr size_t kMaxBytesPerToken = 128;
  static constexpr size_t kMaxStopStrings = 16;
  static constexpr size_t kMaxStopBytes = 1024;  // of one string
  static constexpr size_t kMaxStopTokenIds = 1024;
  static constexpr int kMaxPriority = 1000;       // and as much below 0
  static constexpr size_t kMaxTenantBytes = 256;  // of a tenant's name, and of a cache salt
  static constexpr size_t kMaxEmbeddingInputs = 256;

  // `random` draws seeds; it may be called from any thread.
  GenerationHandler(ModelFrontEnd model, InferenceApi* api, std::function<uint64_t()> random);

  // The complete request, with an id of its own. INVALID_ARGUMENT names field, got and want; FAILED_PRECONDITION for a
  // chat prompt where the model has no chat template.
  absl::StatusOr<GenerateRequest> Resolve(const GenerationInput& input);

  // A request for each input, with ids "ID#0", "ID#1" ...; the errors of Resolve.
  absl::StatusOr<std::vector<GenerateRequest>> ResolveEmbedding(const EmbeddingInput& input);

  // What Generate would make of the prompt; `special` goes for text, a chat template writes its own.
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt, SpecialTokens special) const;
  // INVALID_ARGUMENT for an id outside of the vocabulary.
  absl::StatusOr<std::string> Detokenize(const std::vector<int32_t>& ids, bool skip_special_tokens) const;

  // Both as InferenceApi.
  absl::Status Start(GenerateRequest request, std::shared_ptr<GenerationSink> sink);
  void Abort(const std::string& request_id) { api_->Abort(request_id); }

 private:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens special) const;
  enum class ChatEnd { kAnswerBegins, kLastMessage };
  absl::StatusOr<std::vector<int32_t>> TokenizeAs(const Prompt& prompt, SpecialTokens special, ChatEnd end) const;
  absl::StatusOr<std::string> RenderChat(const std::vector<ChatMessage>& messages, ChatEnd end) const;
  absl::StatusOr<std::string> ResolveId(const std::string& asked);
  absl::StatusOr<int> ResolveMaxTokens(std::optional<int> asked, size_t prompt_tokens) const;
  absl::StatusOr<SamplingParams> ResolveSampling(const GenerationInput& input) const;
  template <typename Input>  // GenerationInput, EmbeddingInput
  static absl::Status ResolveQueueing(const Input& input, GenerateRequest& request);
  absl::StatusOr<int> ResolveMinTokens(const GenerationInput& input, int max_tokens) const;
  absl::StatusOr<StopConditions> ResolveStop(const GenerationInput& input) const;

  const ModelFrontEnd model_;
  InferenceApi* const api_;
  const std::function<uint64_t()> random_;
  Structures structures_;
  std::atomic<uint64_t> next_request_{1};
};

}  // namespace tandem
