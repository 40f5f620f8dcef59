// What a front end serves: the model's text side and the engine's four faces. Pointers are borrowed and outlive it.
#pragma once

#include <cstdint>
#include <functional>

#include "serve/core/generation.h"
#include "tandem/api.h"

namespace tandem {

struct ServeParts {
  ModelFrontEnd model;
  InferenceApi* inference = nullptr;
  FineTuningApi* fine_tuning = nullptr;
  AdapterApi* adapters = nullptr;
  StatusApi* status = nullptr;
  std::function<uint64_t()> random;  // draws seeds; called from any thread
};

}  // namespace tandem
