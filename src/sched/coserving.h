// The hybrid token scheduler: inference first, training in what is left of every iteration (FlexLLM, arXiv:2402.18789,
// section 6).
#pragma once

#include "sched/policy.h"

namespace tandem {

// Inference as sched/admission.h has it. Training: with a cost model and latency targets, what the tightest of the
// targets leaves of the iteration's time (sched/slo.h); without either, training_rows_beside_inference row-equivalents
// where inference has a row in this iteration and max_batch_rows where it has none, and never more than inference left
// of max_batch_rows (sched/training_rows.h). Packed rows are never more than max_batch_rows.
//
// Blocks. Training reserves only what remains when every inference sequence that runs, or waits for rows or blocks, has
// got what it needs up to its end (of those that wait for a running slot: the first), and holds at most
// TrainingBlocksLimit. What it holds already it keeps: an inference request that does not fit beside it up to its end
// waits for those sequences to end, so that none is ever preempted because of training.
Plan PlanCoserving(const SchedulerOptions& options, const SchedulerInput& input);

}  // namespace tandem
