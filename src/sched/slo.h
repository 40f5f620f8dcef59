// Latency targets as an input of planning: how long this iteration may take, and the most training that fits into it.
//
// A decode is due when the mean of its tokens would pass its TPOT; every token that comes earlier builds up slack.
// Training may take an iteration to 0.9 TPOT, and beyond that what slack there is above kReserve tokens: the reserve is
// for other requests' prefill. A request in prefill is due at its TTFT; half of what its deadline leaves after its own
// prefill and that of those before it may go to training. The tightest request decides. Predictions are taken with the
// cost model's headroom for their error.
#pragma once

#include <vector>

#include "sched/cost_model.h"
#include "sched/policy.h"

namespace tandem {

// Whether time is what plans are made by: there is a cost model, and targets are configured or come with a request.
bool FollowsTargets(const SchedulerOptions& options, const SchedulerInput& input);

// `options` with max_prefill_rows small enough that the decodes' next tokens come when they are due; never below 16
// rows, so that prefill goes on.
SchedulerOptions WithPrefillInTime(const SchedulerOptions& options, const SchedulerInput& input);

// Grants training what fits beside plan.inference, which is fixed, and sets plan.budget. `rows`: what is left of
// max_batch_rows. First forward rows that ride along with inference's reading of the weights, as many as cost least a
// row, where that is less than they cost in iterations of their own; then backward units, a job's whole run of them
// before the next job's, in the order offered; and where those run dry, more forward rows. Forward that does not ride
// along waits otherwise: small windows cost more, and what they would use up is not lost, but ends the iteration
// sooner.
//
// Where nothing fits for kPatience iterations though inference is not pressed, the least there is is granted all the
// same (plan.forced_unit). So no job starves, and a cost model that is wrong about a kind of work comes to see it.
void PlanTrainingInTime(const SchedulerOptions& options, const SchedulerInput& input,
                        const std::vector<const Offer*>& spans, int rows, Plan& plan);

// What a lone request would get from an idle daemon.
absl::Duration PredictTtft(const CostModel& cost, const SchedulerOptions& options, int prompt_tokens);
absl::Duration PredictTpot(const CostModel& cost, int context_tokens);

}  // namespace tandem
