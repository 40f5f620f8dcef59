// What a scheduling policy sees and decides, as plain data. A policy is a pure function of it: no device, no thread, no
// clock and no memory of its own, so a decision can be tested, replayed and compared with another policy's.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tandem/work_source.h"

namespace tandem {

class CostModel;

struct SchedulerOptions {
  int max_batch_rows = 512;   // rows of one iteration: bounds its time and its activations
  int max_prefill_rows = 64;  // of these prefill rows: bounds what a running decode has to wait for
  // Training's share of an iteration that also has inference rows, in row-equivalents (sched/coserving.h). 0: training
  // runs only while inference is idle.
  int training_rows_beside_inference = 64;
  int max_running_requests = 64;       // inference sequences that hold blocks; at most max_batch_rows: each may decode
  double training_blocks_limit = 0.5;  // share of the KV pool that training may hold, [0, 1]
  bool weigh_drafts = true;            // guesses against their cost; false: those that are likely right are looked at

  // With latency targets (sched/slo.h). No iteration that trains is planned to take longer, also while no request runs:
  // a request that arrives waits for the rest of it. Infinite: no targets are configured.
  absl::Duration max_iteration = absl::InfiniteDuration();
  // Training's row-equivalents of an iteration whatever the targets say. 0: under their pressure it stands still.
  int training_floor_rows = 0;

  // Of the policies that are there to be compared with (sched/policies.h).
  int temporal_every = 4;              // iterations of inference for each one of training
  double static_training_share = 0.5;  // of max_batch_rows
};

// INVALID_ARGUMENT names the option, what it is and what it may be.
absl::Status ValidateSchedulerOptions(const SchedulerOptions& options);

// Blocks that training may hold at once. A training sequence that needs more never runs: refuse its job beforehand.
int TrainingBlocksLimit(const SchedulerOptions& options, int num_blocks);

struct SchedulerInput {
  Offers inference;
  Offers training;
  int num_blocks = 0;  // of the KV pool
  int free_blocks = 0;
  int num_layers = 0;  // of the model, >= 1
  absl::Time now;
  const CostModel* cost = nullptr;  // null: row budgets only
  // The forward's cost beside backward, on half of the cores; null where the two have no lanes of their own.
  const CostModel* beside = nullptr;
  double lane_speed = 0.5;     // of backward there, as a share of what `cost` says
  int64_t iteration = 0;       // number of this one
  int starved_iterations = 0;  // in a row that had training on offer and ran none
  absl::Duration outside;      // what an iteration takes beside the model: deciding, committing; on the mean
};

struct Plan {
  Grants inference;
  Grants training;
  absl::Duration budget = absl::InfiniteDuration();  // that latency targets left for the iteration
  bool forced_unit = false;                          // training that fits into no budget was granted all the same
  bool backward_beside = false;                      // see Batch
};

using Policy = Plan (*)(const SchedulerOptions& options, const SchedulerInput& input);

}  // namespace tandem
