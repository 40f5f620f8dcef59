// The samples of one optimizer step on their way through forward and backward: while one is in backward the next is
// already in forward. Both use the same weights, so any interleaving gives the same gradients; and the order of
// backward units is fixed, so it gives the same bits.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "kv/block_pool.h"
#include "model/tape.h"
#include "tandem/sequence_ids.h"
#include "tandem/work_source.h"
#include "training/dataset.h"

namespace tandem {

struct PipelineOptions {
  JobId job = 0;
  int num_layers = 0;
  int lowest_layer = 0;       // the lowest that holds a bypass: backward ends there
  int forward_window = 256;   // rows offered at a time, at most
  int backward_window = 256;  // rows of a backward unit, at most
  int priority = 0;           // of its offers
};

// What a batch does is taken for done when it is launched; what comes of it, losses and the end of a sample, is known
// with its Commit, behind which another batch may have been launched.
//
// Step thread only. Between an Emit and the Launched of its batch nothing else may be called.
class SamplePipeline {
 public:
  // A sample that is through: its gradients have been added.
  struct Finished {
    const Sample* sample = nullptr;
    double loss = 0;  // sum over its learned tokens
  };

  // As many samples are in flight at once as there are tapes, at least one; each tape has room for the longest sample.
  // Gradients of all samples go to `gradients`. pool, ids and gradients are borrowed.
  SamplePipeline(const PipelineOptions& options, std::vector<Tape> tapes, const std::vector<LayerGradients>* gradients,
                 BlockPool* pool, SequenceIds* ids);

  // Puts the samples of one optimizer step in the queue; the last step's must be through. Borrowed until they are.
  void Begin(std::vector<const Sample*> samples);
  bool done() const { return runs_.empty() && queue_.empty() && leaving_.empty(); }

  void AppendOffers(Offers& offers) const;
  // False where the grant is not of this pipeline's sequences.
  bool Emit(const SpanGrant& grant, AdapterRef adapter, Batch& batch);
  bool Emit(const BackwardGrant& grant, AdapterRef adapter, Batch& batch);

  // The sample of one of this pipeline's sequences; null for others'.
  const Sample* Find(SequenceId sequence) const;
  // Its sequence gives its blocks back; its rows so far are computed again, for their K and V alone, before anything
  // else of it runs: losses, gradients and tapes stay. False where the sequence is not of this pipeline.
  bool Preempt(SequenceId sequence);

  // A span of Find's sequences, or a unit, is on its way.
  void Launched(const Span& span);
  void Launched(const BackwardUnit& unit);
  // The span has run with this loss, or the unit has, which may end its sample.
  void Commit(const Span& span, double loss);
  std::optional<Finished> Commit(const BackwardUnit& unit);

 private:
  struct Run {
    SequenceId id = 0;
    const Sample* sample = nullptr;
    Tape* tape = nullptr;
    BlockTable blocks;       // of the whole sample, from its first granted row on
    int forward_rows = 0;    // launched
    int kv_rows = 0;         // whose K and V lie in the pool: those of forward_rows, but after a preemption
    int backward_units = 0;  // launched
    int units_over = 0;      // committed
    double loss = 0;

    int num_rows() const { return sample->num_rows(); }
    bool in_forward() const { return forward_rows < num_rows(); }
    bool recomputes() const { return kv_rows < forward_rows; }
    int next_end() const { return recomputes() ? forward_rows : num_rows(); }  // of the rows that may run next
  };

  Run* FindRun(SequenceId sequence);
  Run* FindInFlight(SequenceId sequence);  // also one that leaves
  // Starts the next sample where a tape is free and no other is in forward.
  void StartNext();
  int WindowsOf(const Run& run) const;
  int UnitsOf(const Run& run) const { return WindowsOf(run) * (options_.num_layers - options_.lowest_layer); }
  // Unit k of a run: layers from the last down, in a layer windows from the last to the first.
  TokenWindow WindowOf(const Run& run, int k) const;
  int LayerOf(const Run& run, int k) const { return options_.num_layers - 1 - k / WindowsOf(run); }

  const PipelineOptions options_;
  std::vector<Tape> tapes_;
  const std::vector<LayerGradients>* const gradients_;
  BlockPool* const pool_;
  SequenceIds* const ids_;

  std::deque<const Sample*> queue_;  // not started
  std::vector<Tape*> free_tapes_;
  std::deque<Run> runs_;     // oldest first; only the first may be in backward, only the last in forward
  std::deque<Run> leaving_;  // older ones: all of their work has been launched, they hold nothing any more
};

}  // namespace tandem
