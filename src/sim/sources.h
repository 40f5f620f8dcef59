// Work that is only counted: a trace's requests and an endless job, as the scheduler sees real ones.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "kv/block_pool.h"
#include "sim/trace.h"
#include "tandem/generation.h"
#include "tandem/sequence_ids.h"
#include "tandem/work_source.h"

namespace tandem::sim {

struct RequestOutcome {
  absl::Time arrival, first_token, last_token;
  int output_tokens = 0;
};

class SimulatedInference final : public WorkSource {
 public:
  SimulatedInference(const std::vector<TraceRequest>& trace, const SloTargets& slo, BlockPool* pool, SequenceIds* ids);

  // Takes the requests that have arrived by `now`; when the next one does, InfiniteFuture where none is left.
  void Arrive(absl::Time now);
  absl::Time next_arrival() const;
  bool done() const { return next_ == trace_.size() && running_.empty(); }
  int unfinished() const { return static_cast<int>(running_.size() + trace_.size() - next_); }
  const std::vector<RequestOutcome>& outcomes() const { return outcomes_; }

  Offers CollectOffers(absl::Time now) const override;
  void Emit(const Grants& grants, Batch& batch) override;
  void Commit(const Batch& batch, const StepResult& result, absl::Time now) override;

 private:
  struct Request {
    const TraceRequest* trace = nullptr;
    int computed = 0, generated = 0;
    BlockTable blocks;
    RequestOutcome outcome;
    int ready_rows() const { return generated == 0 ? trace->prompt_tokens - computed : 1; }
  };
  Offer OfferOf(SequenceId id, const Request& request) const;

  const std::vector<TraceRequest>& trace_;
  const SloTargets slo_;
  BlockPool* const pool_;
  SequenceIds* const ids_;
  size_t next_ = 0;
  std::map<SequenceId, Request> running_;
  std::vector<RequestOutcome> outcomes_;
};

struct JobShape {
  int num_layers = 0, sample_tokens = 0, window = 0;
};

// One sample in forward while the one before it is in backward, for ever.
class SimulatedTraining final : public WorkSource {
 public:
  SimulatedTraining(const JobShape& shape, BlockPool* pool, SequenceIds* ids);
  int64_t trained_tokens() const { return trained_tokens_; }

  Offers CollectOffers(absl::Time now) const override;
  void Emit(const Grants& grants, Batch& batch) override;
  void Commit(const Batch& batch, const StepResult& result, absl::Time now) override;

 private:
  struct Sample {
    SequenceId id = 0;  // 0: none
    BlockTable blocks;
    int done = 0;  // rows in forward, units in backward
  };
  int windows() const { return (shape_.sample_tokens + shape_.window - 1) / shape_.window; }
  int units() const { return windows() * shape_.num_layers; }
  TokenWindow WindowOf(int unit) const;

  const JobShape shape_;
  BlockPool* const pool_;
  SequenceIds* const ids_;
  Sample forward_, backward_;
  int64_t trained_tokens_ = 0;
};

}  // namespace tandem::sim
