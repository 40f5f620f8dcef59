// A generation request and what comes back, as plain data: spoken by serve, engine and inference.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tandem {

// How one token is drawn from a row of logits. Order: temperature, top-k, top-p.
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  int top_k = 0;             // 0: off
  float top_p = 1.0f;        // (0, 1]
  uint64_t seed = 0;  // always set by the front end; token i of a request is a pure function of (logits, seed, i)
};

struct StopConditions {
  int max_tokens = 256;
  std::vector<std::string> stop;        // generation ends before the first of these in the text; it is not returned
  std::vector<int32_t> stop_token_ids;  // the model's end tokens included by the front end, unless ignore_eos
};

enum class FinishReason { kStop, kLength, kCancelled };

// How long a request may take. Infinite: no target.
struct SloTargets {
  absl::Duration ttft = absl::InfiniteDuration();  // from its arrival to its first token
  absl::Duration tpot = absl::InfiniteDuration();  // mean over its tokens after the first
};

struct GenerateRequest {
  std::string request_id;       // for logs and Abort; unique among running requests
  std::vector<int32_t> prompt;  // tokens, >= 1
  SamplingParams sampling;
  StopConditions stop;
  std::string adapter;  // name; empty: the base model
  absl::Time deadline = absl::InfiniteFuture();
  bool skip_special_tokens = true;           // in the text
  std::optional<absl::Duration> ttft, tpot;  // its own latency targets; unset: those of its priority class
};

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
};

// One step's news of a request. Text holds whole UTF-8 characters only and may lag the tokens.
struct GenerationUpdate {
  std::vector<int32_t> token_ids;
  std::string text;
  Usage usage;  // cumulative
};

struct GenerationEnd {
  absl::Status status;  // OK, DEADLINE_EXCEEDED, CANCELLED, INTERNAL ...
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  int adapter_generation = 0;  // of the adapter that answered; 0 for the base model
  std::string text;            // held back until now (a possible stop string that was none)
};

// Where a request's tokens go. Called on the step thread: must not block and must not call back into the engine.
// OnEnd is called exactly once, last.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void OnUpdate(GenerationUpdate update) = 0;
  virtual void OnEnd(GenerationEnd end) = 0;
};

}  // namespace tandem
