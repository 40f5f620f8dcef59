// Inference as a source of work: requests become sequences, every step takes what is ready of them (continuous
// batching), long prompts go in chunks, a prompt whose beginning lies in the prefix cache is computed from there on,
// and a sequence takes KV blocks as it grows; where they run out the scheduler says who gives way.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "inference/completions.h"
#include "inference/sequence.h"
#include "inference/tenants.h"
#include "kv/block_pool.h"
#include "tandem/sequence_ids.h"
#include "tandem/work_source.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

struct InferenceOptions {
  int max_waiting = 1024;                        // requests without KV blocks, >= 1; more are refused
  bool prefix_cache = true;                      // KV of prompts and answers is kept for requests that begin alike
  std::map<std::string, double> tenant_weights;  // > 0; of tenants that are not named: 1
  SpeculationOptions speculation;                // of requests that do not say
  int embedding_width = 0;                       // of the model's hidden states as its head reads them
};

struct InferenceCounts {
  int running = 0, waiting = 0;  // completions with and without KV blocks
  int64_t prompt_tokens = 0;     // that went through the model since the start, recomputed ones not counted
  int64_t cached_tokens = 0;     // of prompts, that did not have to
  int64_t generated_tokens = 0;
  int64_t drafted_tokens = 0, accepted_tokens = 0;  // guesses that the model looked at, that were right
  int64_t preemptions = 0;
  int64_t slo_requests = 0, slo_met = 0;  // ended ones that had a latency target; that met all of theirs
  double slo_recent = 1;                  // share that met them, of the last hundred or so
};

// Step thread only. Between Emit and Launched the batch borrows from the sequences: nothing else may be called then.
// Behind a batch that is in flight it offers the rows of tokens that are still to be drawn, but for requests whose next
// token depends on the last one in more than the model's own way (Sequence::needs_last_token): while there are any, it
// cannot run ahead. A sequence that turns out to have ended in the batch in flight, or that is aborted meanwhile, goes
// at once: what the device still computes of it is passed over.
class InferenceSource : public WorkSource {
 public:
  // All borrowed; must outlive the source.
  InferenceSource(BlockPool* pool, const Tokenizer* tokenizer, SequenceIds* ids, const InferenceOptions& options);
  ~InferenceSource() override;  // requests that still run end with CANCELLED

  // Queues the request: by priority, then by turns of the tenants, then first come first served. `adapter_lease` is
  // held until it ends: it keeps the weights of `adapter` alive. Prompt tokens in the vocabulary and prompt +
  // max_tokens within the model's context are the caller's to check. Otherwise the sink is never called:
  // INVALID_ARGUMENT (empty prompt, max_tokens < 1, larger than the KV pool, num_completions), ALREADY_EXISTS
  // (request_id), DEADLINE_EXCEEDED (already), RESOURCE_EXHAUSTED (max_waiting).
  absl::Status Submit(GenerateRequest request, AdapterRef adapter, std::shared_ptr<const void> adapter_lease,
                      std::shared_ptr<GenerationSink> sink, absl::Time now);

  // Ends the request with CANCELLED; its blocks are free when this returns. Unknown ids are ignored.
  void Abort(const std::string& request_id);

  // Ends every request with `status`, which is not OK. Also gives up the batch after Emit, if there is one: after a
  // step that failed.
  void AbortAll(const absl::Status& status);

  bool idle() const { return sequences_.empty(); }
  InferenceCounts counts() const;

  // WorkSource. Deadlines are checked in Commit, also those of requests that still wait.
  bool can_run_ahead() const override;
  Offers CollectOffers(absl::Time now) const override;
  void Emit(const Grants& grants, Batch& batch) override;
  void Launched(const Batch&, int) override { in_step_ = false; }
  void Commit(const Batch& batch, const StepResult& result, absl::Time now) override;

 private:
  using Sequences = std::map<SequenceId, Sequence>;  // by id: in the order of arrival

  struct Request {
    std::vector<SequenceId> sequences;         // completions that have not ended
    std::shared_ptr<Completions> completions;  // shared: with their sinks; null where there is one only
    int to_come = 0;                           // completions that begin once the prompt is computed
  };

  absl::Status CheckRequest(const GenerateRequest& request, absl::Time now) const;
  void Begin(SequenceInit init);
  void BeginSiblings(const Sequence& first);
  // An ended one goes; where it failed, so do the other completions of its request.
  void EraseEnded(Sequences::iterator ended);
  void EndExpired(absl::Time now);
  void EndLost(const Batch& batch, const absl::Status& why);  // the sequences of the batch
  void CountTargets(const Sequence& ended);
  Sequences::iterator Erase(Sequences::iterator ended);
  Sequence& Find(SequenceId granted);
  void TakeTurns(Offers& offers) const;

  BlockPool* const pool_;
  const Tokenizer* const tokenizer_;
  SequenceIds* const ids_;
  const InferenceOptions options_;

  MaskThread mask_thread_;
  Sequences sequences_;
  Tenants tenants_;
  absl::flat_hash_map<std::string, Request> requests_;  // by request_id
  int running_ = 0;
  bool in_step_ = false;  // a batch borrows from sequences_
  int64_t prompt_tokens_ = 0;
  int64_t cached_tokens_ = 0;
  int64_t generated_tokens_ = 0;
  int64_t drafted_tokens_ = 0, accepted_tokens_ = 0;
  int64_t preemptions_ = 0;
  int64_t slo_requests_ = 0, slo_met_ = 0;
  double slo_recent_ = 1;
};

}  // namespace tandem
