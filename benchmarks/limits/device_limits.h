// What a device can do at most by its own best operations, measured in the same run: for backends whose arithmetic is
// not the CPU's (limits.h).
#pragma once

#include "limits/limits.h"
#include "tandem/backend.h"

namespace tandem {

// flops: a bf16 product of 8192 x 8192 x 8192; bytes: a copy of 1 GiB, read and written.
MachineLimits MeasureDeviceLimits(Backend& backend);

}  // namespace tandem
