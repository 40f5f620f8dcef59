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

// Every decode; then prefill chunks in the order (priority, due, arrival), together at most max_prefill_rows. A waiting
// sequence is admitted only if its whole reservation fits into the free blocks, so it never has to be preempted, and
// only if none that is before it in that order still waits: small requests do not overtake a large one. Takes from
// `left` also the blocks that sequences still waiting will need next.
void PlanInference(const SchedulerOptions& options, const Offers& offers, RemainingBudget& left, Grants& grants);

}  // namespace tandem
