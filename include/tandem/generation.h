// A generation request and what comes back, as plain data: spoken by serve, engine and inference.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tandem/sampling.h"

namespace tandem {

namespace grammar {
class Grammar;  // grammar/grammar.h
}  // namespace grammar

struct StopConditions {
  int max_tokens = 256;
  int min_tokens = 0;                   // before these no stop token is drawn and no stop string is looked for
  std::vector<std::string> stop;        // generation ends at the first of these in the text
  std::vector<int32_t> stop_token_ids;  // the model's end tokens included by the front end, unless ignore_eos
  bool include_stop_in_text = false;    // the text of the stop string or token that ended it is returned
};

// What an embedding is made of: the final hidden states, normed as the head would read them.
enum class Pooling { kLastToken, kMean };  // of the last token; the mean over all tokens

enum class FinishReason { kStop, kLength, kCancelled };

// How long a request may take. Infinite: no target.
struct SloTargets {
  absl::Duration ttft = absl::InfiniteDuration();  // from its arrival to its first token
  absl::Duration tpot = absl::InfiniteDuration();  // mean over its tokens after the first
};

inline constexpr int kMaxCompletions = 128;  // of one request
inline constexpr int kMaxDrafts = 32;        // tokens guessed ahead at once

struct GenerateRequest {
  std::string request_id;       // for logs and Abort; unique among running requests
  std::vector<int32_t> prompt;  // tokens, >= 1
  SamplingParams sampling;
  StopConditions stop;
  std::string adapter;  // name; empty: the base model
  absl::Time deadline = absl::InfiniteFuture();
  bool skip_special_tokens = true;     // in the text
  int priority = 0;                    // lower first
  std::string tenant;                  // who asks: within a priority, tenants share what is served
  std::string cache_salt;              // KV of earlier requests is reused only where they had the same
  std::optional<int> prompt_logprobs;  // log probabilities of the prompt's tokens, and of so many most probable ones
  // What the completion has to match; null: anything. Shared with other requests and the cache that they come from. Its
  // end tokens are among the stop tokens.
  std::shared_ptr<grammar::Grammar> structure = nullptr;
  // Completion i of n draws as a request of its own with seed + i (modulo 2^64) would. They share the prompt's KV.
  int num_completions = 1;
  // Tokens that prompt lookup may guess ahead in one iteration; 0: none; unset: as the daemon is configured.
  std::optional<int> max_drafts = std::nullopt;
  // Set: no completion (max_tokens is 0), but the embedding of the prompt.
  std::optional<Pooling> pooling = std::nullopt;
  std::optional<absl::Duration> ttft, tpot;  // its own latency targets; unset: those of its priority class

  // Every row of the prompt goes through the model: none may come from a cache of prefixes.
  bool needs_all_prompt_rows() const { return prompt_logprobs.has_value() || pooling == Pooling::kMean; }
};

// Of a request: its prompt once, all of its completions.
struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;    // of the prompt: their KV was there already
  int drafted_tokens = 0;   // that prompt lookup guessed and the model looked at
  int accepted_tokens = 0;  // of these: were right
};

// One step's news of a request. Text holds whole UTF-8 characters only and may lag the tokens.
struct GenerationUpdate {
  int index = 0;  // of the completion, below num_completions
  std::vector<int32_t> token_ids;
  std::string text;
  Usage usage;                          // cumulative
  std::vector<TokenLogprobs> logprobs;  // of token_ids; empty where none were asked for
  // In the first update, where asked for: of the prompt's tokens; the first of them has none (NaN).
  std::vector<TokenLogprobs> prompt_logprobs;
};

struct GenerationEnd {
  absl::Status status;  // OK, DEADLINE_EXCEEDED, CANCELLED, INTERNAL ...
  int index = 0;        // of the completion
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  int adapter_generation = 0;         // of the adapter that answered; 0 for the base model
  std::string text;                   // held back until now (a possible stop string that was none)
  std::string stop_string;            // what ended it with kStop: this,
  std::optional<int32_t> stop_token;  // or this
  std::vector<float> embedding;       // where asked for
};

// Where a request's tokens go. Called on the step thread: must not block and must not call back into the engine.
// OnEnd is called exactly once, last: where there are several completions, with the end of the one that ended last, or
// with the error that ended all of them.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void OnUpdate(GenerationUpdate update) = 0;
  // A completion ended well, and others of its request go on.
  virtual void OnCompletionEnd(GenerationEnd /*end*/) {}
  virtual void OnEnd(GenerationEnd end) = 0;
};

}  // namespace tandem
