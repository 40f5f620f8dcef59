// One running job: takes its samples through the pipeline, step by step, and the optimizer at the end of each step. The
// device is given the optimizer's work behind all that it has, and the next step's samples behind that: the gradient
// norm and with it the step's report come later. What is published is taken when they are there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kv/block_pool.h"
#include "model/row_norms.h"
#include "tandem/backend.h"
#include "tandem/sequence_ids.h"
#include "tandem/work_source.h"
#include "training/adapter_trainer.h"
#include "training/job_registry.h"
#include "training/prepare.h"
#include "training/publisher.h"
#include "training/sample_order.h"
#include "training/sample_pipeline.h"
#include "training/schedule.h"

namespace tandem {

struct TrainingOptions {
  int max_running_jobs = 1;   // others wait in a queue
  int forward_window = 256;   // rows of a sample offered at a time, at most
  int backward_window = 256;  // rows of a backward unit, at most; not above the model's max_batch_rows
  int priority = 0;           // of training's offers
};

// What jobs run on. Borrowed: must outlive them.
struct TrainingParts {
  const ModelDesc* desc = nullptr;
  DType activations = DType::kF32;  // the model's
  Backend* backend = nullptr;
  BlockPool* pool = nullptr;
  SequenceIds* sequence_ids = nullptr;
  JobRegistry* registry = nullptr;
  RowNorms* row_norms = nullptr;  // the model's: where a fresh DoRA adapter begins
  Publisher::Parts publication;   // its registry is this one
  // Returns when none of their backward units is under way any more.
  std::function<void()> settle_backward = [] {};
  TrainingOptions options;
};

// Step thread only. Its destruction returns KV blocks, tapes and the working copy at once, whatever it was doing.
class TrainingJob {
 public:
  enum class Progress { kRunning, kTrained };

  // Begins the first step; marks the job running.
  TrainingJob(JobId id, PreparedJob prepared, const TrainingParts& parts);
  TrainingJob(const TrainingJob&) = delete;
  TrainingJob& operator=(const TrainingJob&) = delete;
  ~TrainingJob() { settle_backward_(); }

  JobId id() const { return id_; }
  void AppendOffers(Offers& offers) const { pipeline_.AppendOffers(offers); }
  // False where the grant is not for this job.
  bool Emit(const SpanGrant& grant, Batch& batch) { return pipeline_.Emit(grant, trainer_.adapter(), batch); }
  bool Emit(const BackwardGrant& grant, Batch& batch) { return pipeline_.Emit(grant, trainer_.adapter(), batch); }

  // False where the sequence is not this job's.
  bool Preempt(SequenceId sequence) {
    settle_backward_();
    return pipeline_.Preempt(sequence);
  }

  // Its own spans and units of the batch, but for the skipped ones, are on their way.
  void Launched(const Batch& batch, int backward_skipped);
  // Takes what came of its own spans and units of the batch. kTrained: that was the last step, its publication is
  // submitted and will end the job in the registry. An error names step and sample; the job must be given up.
  absl::StatusOr<Progress> Commit(const Batch& batch, const StepResult& result);

  // Ends the job in the registry, after the publications under way. Destroy it afterwards.
  void End(JobState state, absl::Status error) { publisher_.Finish(state, std::move(error)); }

  // Rows that went through forward and backward.
  int64_t trained_tokens() const { return trained_tokens_; }

 private:
  void BeginStep();
  bool TakesPart(const Batch& batch) const;
  absl::Status TakeSpan(const Span& span, double loss);
  void TakeUnit(const BackwardUnit& unit);
  bool publishes() const;  // what the steps so far have made
  void StepOptimizer();
  absl::StatusOr<Progress> EndStep(double norm);

  const JobId id_;
  PreparedJob prepared_;  // its weights are the trainer's
  const Schedule schedule_;
  JobRegistry* const registry_;
  const std::function<void()> settle_backward_;
  AdapterTrainer trainer_;
  Publisher publisher_;
  SamplePipeline pipeline_;

  int step_ = 0;                       // at work on, from 0
  std::optional<StepReport> stepped_;  // the optimizer's step before, while its norm is in flight
  std::vector<int> order_;             // of the samples in the epoch of that step
  int order_epoch_ = -1;
  int64_t learned_tokens_ = 0;  // of all samples of the step
  // Of its samples that are through:
  double loss_ = 0;
  int64_t tokens_ = 0;
  int64_t trained_tokens_ = 0;
};

}  // namespace tandem
