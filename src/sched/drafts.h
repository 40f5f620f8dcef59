// Guesses at tokens to come (speculative decoding) as rows of an iteration: how many of them pay.
#pragma once

#include <vector>

#include "sched/admission.h"

namespace tandem {

class CostModel;

// Adds rows of guesses to the grants of decodes, in the order of `offers`, as far as `left` goes, and takes them off
// it. A guess is worth what the iteration takes for each of its decodes times the probability that it is right, and
// costs what its row adds to the iteration; each decode gets as many as bring most. Without a cost model: those that
// are more likely right than not.
void PlanDrafts(const std::vector<const Offer*>& offers, const CostModel* cost, RemainingBudget& left, Grants& grants);

}  // namespace tandem
