// One completion of a generation request while it runs: its tokens, how many of them lie in the KV pool, its text, and
// its end.
//
//   tokens     [ prompt ............ | generated ...... ] awaited
//   emitted    [ ............................. )           the rest are rows that can run now: a prefill chunk, or the
//   in the KV  [ computed .......... )                     one token that was sampled last
//
// Where the device works on its own, rows are emitted behind a batch that is in flight: the token that it draws is
// awaited, and its row can run before anybody has seen it. With the batch's results, computed follows emitted and what
// was awaited is appended; where that ends the sequence, the row behind it ran for nothing.
//
// It is admitted with the blocks of its tokens so far and takes another one whenever they are full. Preempted, it lets
// go of all, keeps its tokens and its stream, and waits to be admitted again: its tokens are prefilled then, and
// because a token is a function of what is before it, its seed and its index, those that follow are the ones that it
// would have had anyway. For the same reason guesses at its next tokens may be computed with the last one, and the
// tokens behind them be drawn at once: those up to the first that is not as guessed are the ones it would have had; the
// rows of the others are written over.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "inference/prompt_lookup.h"
#include "inference/stop_checker.h"
#include "inference/structure.h"
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
  std::optional<Structure> structure;  // that its completion keeps to
  PrefixId prefix_root;                // "": nothing is looked up in the prefix cache, nor put there
  // It is a further completion of a prompt that was computed, counted and charged for with the first one.
  bool sibling = false;
  SpeculationOptions speculation;
  int embedding_width = 0;
};

// Step thread only. Calls its sink's OnEnd exactly once: at its end or, where it has none, with CANCELLED when
// destroyed.
class Sequence {
 public:
  // Both borrowed.
  Sequence(SequenceInit init, BlockPool* pool, const Tokenizer* tokenizer);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  ~Sequence();

  // Waiting, it looks for its prefix in the cache; where it is not to look, it is offered (and runs) without.
  enum class Lookup { kNo, kYes };
  Offer MakeOffer(Lookup lookup) const;
  // Whether it has rows that can run now: MakeOffer may be called.
  bool ready() const;
  // What it does next depends on a token (or a prompt's log probabilities) that is still in flight.
  bool needs_last_token() const;

  // Takes the blocks that its last offer asked for, with those that num_rows rows need; they are free. Returns whether
  // it was admitted by this.
  bool Reserve(int num_rows);
  bool admitted() const { return admitted_; }
  void Preempt();

  // Appends the next num_rows rows to the batch, those beyond its tokens being guesses; with the last of its tokens,
  // and with every guess, also the request for the next one. The batch borrows from the sequence until it is launched.
  void Emit(int num_rows, Batch& batch);

  // The num_rows rows that were emitted first of those in flight lie in the KV pool, unless it was preempted meanwhile;
  // guesses count once they are accepted. Returns how many are rows of the prompt that never ran before. Ends an
  // embedding whose rows have all run.
  int Advance(int num_rows);

  // Takes the next token sampled by `now`, or why there is none (sampling.h); tells the sink; ends the sequence where
  // it stops. `logprobs`: of the token, where the request wants them. Returns whether it was taken: none is behind a
  // guess that was wrong.
  bool Accept(int32_t token, absl::Time now, TokenLogprobs logprobs = {});

  // Takes the log probabilities of the prompt's next token.
  void AcceptScore(TokenLogprobs score);

  // Ends it before its time. `status` is not OK.
  void Abort(const absl::Status& status);

  bool ended() const { return sink_ == nullptr; }
  const std::string& request_id() const { return request_.request_id; }
  absl::Time deadline() const { return request_.deadline; }
  int blocks_held_alone() const { return pool_->HeldAlone(blocks_); }
  int priority() const { return request_.priority; }
  const std::string& tenant() const { return request_.tenant; }
  absl::Time arrival() const { return arrival_; }
  int prompt_size() const { return prompt_size_; }
  // What a further completion of the same prompt is asked for with.
  GenerateRequest SiblingRequest(int index) const;
  const AdapterRef& adapter() const { return adapter_; }
  const std::shared_ptr<const void>& adapter_lease() const { return adapter_lease_; }
  const PrefixId& prefix_root() const { return prefix_root_; }
  // Is not to be admitted before it has looked for its prompt in the prefix cache.
  bool must_look() const { return sibling_ && !admitted_ && ran_ == prompt_size_; }
  // Was admitted before: it has been charged for its prompt.
  bool preempted() const { return !admitted_ && was_admitted_; }
  int blocks_held() const { return blocks_.size(); }
  // Whether what it has generated came within its targets; nothing where it has none or has generated nothing.
  std::optional<bool> met_targets() const;
  Usage usage() const;

 private:
  void EmitPromptRequests(const Span& span, Batch& batch);
  void EmitPool(const Span& span, Batch& batch);
  void EmitSample(int row, int num_tokens, Batch& batch);
  int Compute(int num_rows);
  void EndEmbedding();
  void DropGuesses();
  // At what follows, as many as may be of use.
  std::span<const int32_t> Guesses() const;
  bool decodes() const { return admitted_ && emitted_ >= prefill_end_; }
  bool IsStopToken(int32_t token) const;
  void EndWithoutToken();
  std::string TextOf(int32_t token, bool stop_token);
  void End(const absl::Status& status, FinishReason reason);
  int size() const { return static_cast<int>(tokens_.size()) - in_flight_; }  // tokens that are certain
  int size_to_come() const { return size() + awaited_; }                      // outside of a step with guesses
  int BlocksLeft(int held) const;  // that it may take until its end, where it has `held`
  BlockPool::Match FindPrefix() const;
  absl::Duration ttft_target() const { return request_.ttft.value_or(absl::InfiniteDuration()); }
  absl::Duration tpot_target() const { return request_.tpot.value_or(absl::InfiniteDuration()); }
  // When its next token is due: see Offer.
  absl::Time due() const;

  const SequenceId id_;
  const AdapterRef adapter_;
  const absl::Time arrival_;
  BlockPool* const pool_;
  const int prompt_size_;
  const PrefixId prefix_root_;

  const bool sibling_;

  std::vector<int32_t> tokens_;     // between Emit and the last Accept with in_flight_ guesses at the end
  int in_flight_ = 0;               // guesses that the batch looks at
  int awaited_ = 0;                 // samples in flight that may still be accepted
  int last_sample_ = 0;             // of these: its number in its batch
  mutable Drafter drafter_;         // its guesses are made when an offer needs them
  int drafted_ = 0, accepted_ = 0;  // guesses
  const GenerateRequest request_;   // without its prompt, which is in tokens_
  int computed_ = 0, emitted_ = 0;  // rows
  int prefill_end_ = 0;             // tokens it had when it was admitted: rows before are prefill
  int ran_ = 0;                     // the most that computed_ has been
  int cached_tokens_ = 0;           // of the prompt, found when it was admitted first
  bool admitted_ = false, was_admitted_ = false;
  absl::Time first_token_ = absl::InfiniteFuture(), last_token_ = absl::InfiniteFuture();  // none yet
  BlockTable blocks_;
  int remembered_ = 0;                     // blocks, from the first, that stand in the prefix cache
  PrefixId prefix_;                        // of the last of them
  mutable int offered_cached_blocks_ = 0;  // what the last offer counts on
  std::optional<Structure> structure_;
  StreamDecoder decoder_;
  StopChecker stop_checker_;
  std::optional<int32_t> stop_token_;           // that ended it
  std::vector<double> pooled_;                  // sum of hidden states; empty where no embedding is asked for
  std::vector<float> embedding_;                // made of it at the end
  std::vector<TokenLogprobs> prompt_logprobs_;  // of the first tokens of the prompt; empty once they were reported
  std::shared_ptr<const void> adapter_lease_;
  std::shared_ptr<GenerationSink> sink_;  // null once it has ended
};

}  // namespace tandem
