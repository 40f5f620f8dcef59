// One generation request while it runs: its tokens, how many of them lie in the KV pool, its text, and its end.
//
//   tokens     [ prompt ............ | generated ...... ]
//   in the KV  [ computed .......... )                     the rest are rows that can run now: a prefill chunk, or the
//                                                          one token that was sampled last
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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

  // Appends the next num_rows rows to the batch; with the last of its tokens also the request for the next one.
  void Emit(int num_rows, Batch& batch) const;

  // num_rows more rows lie in the KV pool.
  void Advance(int num_rows);

  // Takes a token that was sampled by `now`, -1 where its logits were not finite; tells the sink; ends the sequence
  // where it stops.
  void Accept(int32_t token, absl::Time now);

  // Ends it before its time. `status` is not OK.
  void Abort(const absl::Status& status);

  bool ended() const { return sink_ == nullptr; }
  const std::string& request_id() const { return request_.request_id; }
  absl::Time deadline() const { return request_.deadline; }
  int blocks_held() const { return blocks_.size(); }
  // Whether what it has generated came within its targets; nothing where it has none or has generated nothing.
  std::optional<bool> met_targets() const;
  Usage usage() const;

 private:
  void End(const absl::Status& status, FinishReason reason);
  absl::Duration ttft_target() const { return request_.ttft.value_or(absl::InfiniteDuration()); }
  absl::Duration tpot_target() const { return request_.tpot.value_or(absl::InfiniteDuration()); }
  // When its next token is due: see Offer.
  absl::Time due() const;

  const SequenceId id_;
  const AdapterRef adapter_;
  const absl::Time arrival_;
  const int blocks_needed_;
  const int prompt_size_;

  std::vector<int32_t> tokens_;
  const GenerateRequest request_;  // without its prompt, which is in tokens_
  int computed_ = 0;
  absl::Time first_token_ = absl::InfiniteFuture(), last_token_ = absl::InfiniteFuture();  // none yet
  bool admitted_ = false;
  BlockTable blocks_;
  StreamDecoder decoder_;
  StopChecker stop_checker_;
  std::shared_ptr<const void> adapter_lease_;
  std::shared_ptr<GenerationSink> sink_;  // null once it has ended
};

}  // namespace tandem
