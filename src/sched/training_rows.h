// Training's part of a plan by a budget of rows: what every policy uses where no latency target is at stake.
#pragma once

#include <vector>

#include "sched/policy.h"

namespace tandem {

// The training spans that may run, by (priority, as offered): those that hold their blocks, and the first of the others
// that `blocks` suffices for.
std::vector<const Offer*> AdmitTraining(const std::vector<Offer>& offers, int blocks);

// Blocks that training may still take when inference has left `left_blocks`.
int TrainingBlocks(const SchedulerOptions& options, const SchedulerInput& input, int left_blocks);

// Cost is counted in layer-rows, one row through one layer: a forward row costs num_layers, a backward unit of w rows
// costs w, because backward through frozen weights computes dx only, about as much as the forward did. num_layers
// layer-rows are one row-equivalent; the budget is `rows` of them. Where both forward rows and backward units are on
// offer each gets half, and what one half cannot use the other gets. Units are indivisible, so a budget above 0 always
// buys the first unit on offer, even one that costs more than the budget: no job starves from rounding, and an
// iteration exceeds its budget by less than that one unit. Sequences share rows and units evenly, in the order given.
void PlanTrainingRows(const std::vector<const Offer*>& spans, const std::vector<BackwardOffer>& backward, int rows,
                      int num_layers, Grants& grants);

}  // namespace tandem
