// Training on a backend that has a lane for backward: it runs beside the forward, on cores of its own, and the
// iteration takes what its forward takes there.
#pragma once

#include <vector>

#include "sched/cost_model.h"
#include "sched/policy.h"

namespace tandem {

// Grants backward all that it can do meanwhile and more, and beside inference as many forward rows as keep backward
// supplied: as many as let the forward of the samples on offer end when the backward on offer does. Fewer would let the
// lane run dry; with more, forward would wait for backward and inference would have waited for nothing. While no
// inference runs, as many rows as fit. The iteration ends within `time`, in seconds, by the prediction and its
// headroom.
//
// False, and nothing granted: there is no lane or nothing for one side of it, or the targets leave no time to run on
// half of the cores. Then backward comes after the forward (sched/slo.h).
bool PlanTrainingBeside(const SchedulerInput& input, const StepFeatures& inference, double time,
                        const std::vector<const Offer*>& spans, int rows, Plan& plan);

}  // namespace tandem
