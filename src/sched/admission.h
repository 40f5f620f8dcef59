// Inference's part of a plan, the same under every policy: which requests get rows, and which of those that wait are
// admitted.
#pragma once

#include <vector>

#include "sched/policy.h"

namespace tandem {

// What the iteration still has to give while it is being planned.
struct RemainingBudget {
  int rows = 0;
  int blocks = 0;
};

std::vector<const Offer*> OfferPointers(const std::vector<Offer>& offers);

// Grants up to `rows` rows to the offer; returns how many.
int GrantRows(const Offer& offer, int rows, Grants& grants);

// Every decode; then prefill chunks in the order (priority, turn, due, arrival), together at most max_prefill_rows.
//
// A waiting sequence is admitted only if none that is before it in that order still waits (small requests do not
// overtake a large one) and its prompt's blocks fit into the free ones, with one more for each sequence that runs: the
// next that it will ask for. So more is admitted than would fit if all grew to their ends. Where decodes need more
// blocks than are free, the last sequences in the order (priority, arrival) are preempted until the others' do; nobody
// is admitted in that iteration.
//
// Training is no reason to be preempted, or to wait for blocks. While it holds some, a sequence is admitted if it and
// all that run fit into the free blocks up to their ends; where they do not, and would without training, training's
// sequences give theirs back, in the order of `training.held`, until they do. `left` gives training only what they
// leave up to their ends, and what those that wait for rows or blocks will need (of those that wait for a running slot:
// the first).
//
// What is left then, rows and blocks that nobody will need in the next iteration, may go to guesses (sched/drafts.h).
struct InferenceInput {
  const Offers& offers;
  const Offers& training;
  const CostModel* cost = nullptr;  // null: no times are predicted
};
// Returns training's sequences that give their blocks back; `left` has what is left of these too.
std::vector<SequenceId> PlanInference(const SchedulerOptions& options, const InferenceInput& input,
                                      RemainingBudget& left, Grants& grants);

// Of the input, what training may still be granted when some of its sequences give their blocks back.
SchedulerInput WithoutPreempted(const SchedulerInput& input, const std::vector<SequenceId>& preempted);

}  // namespace tandem
