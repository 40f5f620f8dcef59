// The hybrid token scheduler: inference first, training in what is left of every iteration (FlexLLM, arXiv:2402.18789,
// section 6; here with row budgets from the configuration in the place of a latency target).
#pragma once

#include "sched/policy.h"

namespace tandem {

// Inference: PlanInference (sched/admission.h).
//
// Training. Cost is counted in layer-rows, one row through one layer: a forward row costs num_layers, a backward unit
// of w rows costs w, because backward through frozen weights computes dx only, about as much as the forward did.
// num_layers layer-rows are one row-equivalent. The budget is training_rows_beside_inference row-equivalents where
// inference has a row in this iteration and max_batch_rows where it has none, and never more than inference left of
// max_batch_rows. Where both forward rows and backward units are on offer each gets half, and what one half cannot use
// the other gets. Units are indivisible, so a budget above 0 always buys the first unit on offer, even one that costs
// more than the budget: no job starves from rounding, and an iteration exceeds its budget by less than that one unit.
// Packed rows are never more than max_batch_rows. Sequences share rows and units evenly, in the order (priority, as
// offered).
//
// Blocks. Training reserves only what remains when every inference sequence that runs, or waits for rows or blocks, has
// got what it needs up to its end (of those that wait for a running slot: the first), and holds at most
// TrainingBlocksLimit. What it holds already it keeps: an inference request that does not fit beside it up to its end
// waits for those sequences to end, so that none is ever preempted because of training.
Plan PlanCoserving(const SchedulerOptions& options, const SchedulerInput& input);

}  // namespace tandem
