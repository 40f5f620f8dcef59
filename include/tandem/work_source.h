// The seam between the scheduler and those who have work: inference and training are two WorkSources. A source says
// what it could run (offers); the scheduler decides how much of it runs now (grants); the source writes the granted
// rows.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "tandem/batch.h"

namespace tandem {

// Rows of one sequence that could run in this iteration.
struct Offer {
  SequenceId sequence = 0;
  SpanKind kind = SpanKind::kPrefill;
  int ready_rows = 0;      // the most it can use now; at least one
  int rows_to_end = 0;     // training: that its forward has still to do, ready_rows included
  int first_position = 0;  // context before the first row, in tokens
  // KV blocks taken if any row is granted. In prefill: all that its rows need, once; then 0: it is admitted. A decode:
  // one where its next row begins a block. A training sequence: all it will ever need, once; then 0.
  int blocks_to_reserve = 0;
  int blocks_to_end = 0;  // inference: that it may still take after these, until its end
  // Of a decode's ready_rows the last so many are guesses at the tokens to come: they may be left out, one is right
  // with probability draft_acceptance if those before it are. blocks_for_drafts are taken beside blocks_to_reserve if
  // all of them are granted, fewer where fewer are.
  int drafts = 0;
  double draft_acceptance = 0;
  int blocks_for_drafts = 0;
  int blocks_if_preempted = 0;  // inference that was admitted: free again if it is preempted
  int priority = 0;             // lower first
  int turn = 0;                 // then lower first: fairness between tenants
  absl::Time arrival;           // then earlier first
  // When its next token is due by its latency target, and how long each one after that may take: the TTFT's deadline
  // while it is in prefill; for a decode what the mean of its tokens so far leaves. Infinite: no target.
  absl::Time due = absl::InfiniteFuture();
  absl::Duration tpot = absl::InfiniteDuration();

  bool bypass = false;  // its rows run through an adapter

  bool waits() const { return kind != SpanKind::kDecode && blocks_to_reserve > 0; }
};

// The next backward units of one sequence, in the order they must run.
struct BackwardOffer {
  JobId job = 0;
  SequenceId sequence = 0;
  std::vector<TokenWindow> units;  // each of one layer: what it costs depends on its rows and on where they lie
};

// What a training sequence would give back.
struct HeldBlocks {
  SequenceId sequence = 0;
  int blocks = 0;
};

// Offers of one source. Among equals (training's jobs) they are served in the order offered: a source that is to be
// fair to its jobs offers the least recently served one first.
struct Offers {
  std::vector<Offer> spans;
  std::vector<BackwardOffer> backward;
  int blocks_held = 0;                // training: KV blocks that its sequences have reserved so far
  std::vector<HeldBlocks> held = {};  // training: by which of them, those first that lose least with them
};

struct SpanGrant {
  SequenceId sequence = 0;
  int num_rows = 0;
};

struct BackwardGrant {
  SequenceId sequence = 0;
  int num_units = 0;  // the first num_units of the offer
};

struct Grants {
  std::vector<SpanGrant> spans;
  std::vector<BackwardGrant> backward;
  // Give their KV blocks back, before anybody takes any, and wait to be admitted again; their rows are recomputed then.
  // Nothing else is granted to them.
  std::vector<SequenceId> preempted;
};

class WorkSource {
 public:
  virtual ~WorkSource() = default;

  // Whether it can say what runs behind the batch that was launched last before that one is committed.
  virtual bool can_run_ahead() const { return true; }

  // What could run at `now`. Called once per iteration; changes nothing that a second call would notice.
  virtual Offers CollectOffers(absl::Time now) const = 0;

  // Has those that are preempted give back what they hold; reserves what the grants need and appends their spans, rows,
  // labels, samples and units to the batch. May be called with preempted ones alone before, where another source is to
  // have their blocks.
  virtual void Emit(const Grants& grants, Batch& batch) = 0;

  // The batch of the last Emit is on its way, but for the last `backward_skipped` of its units: what could run behind
  // it may be asked for, and whatever it borrows may go. A Commit that was not announced so does this first.
  virtual void Launched(const Batch& batch, int backward_skipped) {}

  // Takes its own spans' and units' share of the result; batches come in their order. Spans of other sources are passed
  // over, and so are those of sequences that have gone since.
  virtual void Commit(const Batch& batch, const StepResult& result, absl::Time now) = 0;
};

}  // namespace tandem
