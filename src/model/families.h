// The families of models that Tandem runs: one table, one reader of config.json each. Adding a family is a row here.
#pragma once

#include "absl/status/statusor.h"
#include "base/json.h"
#include "model/description.h"

namespace tandem {

// The description of a config of any known family. INVALID_ARGUMENT names the field that is not supported.
absl::StatusOr<ModelDesc> ReadFamily(const Json& config);

}  // namespace tandem
