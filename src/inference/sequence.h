// One generation request while it runs: its tokens, how many of them lie in the KV pool, its text, and its end.
//
//   tokens     [ prompt ............ | generated ...... ]
//   in the KV  [ computed .......... )                     the rest are rows that can run now: a prefill chunk, or the
//                                                          one token that was sampled last
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "inference/stop_checker.h"
#include "kv/block_pool.h"
#include "tandem/generation.h"
#include "tandem/work_source.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

struct SequenceInit {
  SequenceId id = 0;
  GenerateRequest request;
  AdapterRef adapter;
  std::shared_ptr<const void> adapter_lease;  // shared: the adapter's weights stay as long as anyone holds one
  std::shared_ptr<GenerationSink> sink;       // shared: the front end may drop its end while this one still writes
  absl::Time arrival;
  int blocks_needed = 0;  // for the whole sequence
};

// Step thread only. Calls its sink's OnEnd exactly once: at its end or, where it has none, with CANCELLED when
// destroyed.
class Sequence {
 public:
  Sequence(SequenceInit init, const Tokenizer* tokenizer);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  ~Sequence();

  Offer MakeOffer() const;

  // Admits it: `blocks` hold prompt and max_tokens.
  void Reserve(BlockTable blocks);
  bool admitted() const { return admitted_; }

  // Appends the next num_rows rows to the batch; with the last of its tokens also the request for the next one. The
  // batch borrows from the sequence until the step is committed.
  void Emit(int num_rows, Batch& batch);

  // num_rows more rows lie in the KV pool.
  void Advance(int num_rows);

  // Takes a sampled token, or why there is none (sampling.h); tells the sink; ends the sequence where it stops.
  // `logprobs`: of the token, where the request wants them.
  void Accept(int32_t token, TokenLogprobs logprobs = {});

  // Takes the log probabilities of the prompt's next token.
  void AcceptScore(TokenLogprobs score);

  // Ends it before its time. `status` is not OK.
  void Abort(const absl::Status& status);

  bool ended() const { return sink_ == nullptr; }
  const std::string& request_id() const { return request_.request_id; }
  absl::Time deadline() const { return request_.deadline; }
  int blocks_held() const { return blocks_.size(); }
  Usage usage() const;

 private:
  void EmitPromptRequests(const Span& span, Batch& batch);
  bool IsStopToken(int32_t token) const;
  std::string TextOf(int32_t token, bool stop_token);
  void End(const absl::Status& status, FinishReason reason);

  const SequenceId id_;
  const AdapterRef adapter_;
  const absl::Time arrival_;
  const int blocks_needed_;
  const int prompt_size_;

  std::vector<int32_t> tokens_;
  const GenerateRequest request_;  // without its prompt, which is in tokens_
  int computed_ = 0;
  bool admitted_ = false;
  BlockTable blocks_;
  StreamDecoder decoder_;
  StopChecker stop_checker_;
  std::optional<int32_t> stop_token_;           // that ended it
  std::vector<TokenLogprobs> prompt_logprobs_;  // of the first tokens of the prompt; empty once they were reported
  std::shared_ptr<const void> adapter_lease_;
  std::shared_ptr<GenerationSink> sink_;  // null once it has ended
};

}  // namespace tandem
