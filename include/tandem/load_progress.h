// How long loading a model will take: told to whoever waits, who can end it.
#pragma once

#include <functional>

#include "absl/status/status.h"

namespace tandem {

// Called on the loading thread, between tensors, with the share of the weights that is in place, [0, 1]. A status that
// is not OK ends the loading, with it. May be empty.
using LoadProgress = std::function<absl::Status(double share)>;

}  // namespace tandem
