// What a fine-tuning job may ask for: the single place that knows the ranges (those of an adapter are
// adapter/adapter_weights.h's).
#pragma once

#include "absl/status/status.h"
#include "tandem/job.h"
#include "tandem/linears.h"

namespace tandem {

// INVALID_ARGUMENT names the first field that is out of range, what it is and what it may be. Looks at everything but
// the lines of the data. Where init_from_adapter is set, a rank or alpha of 0 stands for that adapter's. max_context:
// tokens of a sequence that the model runs. linears: what target_modules may name.
absl::Status ValidateJobSpec(const JobSpec& spec, int max_context, const LinearNames& linears = {});

}  // namespace tandem
