// Where the scheduler's cost model comes from: a file of an earlier run, or a short profile of the loaded model.
#pragma once

#include <string>

#include "adapter/adapter_store.h"
#include "kv/block_pool.h"
#include "model/model.h"
#include "sched/cost_model.h"
#include "tandem/backend.h"

namespace tandem {

struct CostProfileParts {
  Model* model = nullptr;      // all borrowed; no step may run beside this
  Backend* backend = nullptr;  // the model's
  BlockPool* pool = nullptr;
  AdapterStore* adapters = nullptr;  // a working copy for the probes of training; gone afterwards
  int max_batch_rows = 0, max_backward_rows = 0;
  absl::Duration limit = absl::Milliseconds(2500);
};

// "<directory>/<model> <hash>.json": one file for each device, model, dtype and number of threads.
std::string CostModelPath(const std::string& directory, const std::string& model_path, const ModelDesc& desc,
                          const std::string& device, const std::string& dtype);

// Runs the profile's probes on the model: iterations over token 0, in blocks that are free again afterwards.
CostModel ProfileModel(const CostProfileParts& parts);

// The model of `path`; where there is none that can be read, a profile's, which is then saved there. "" for no file.
CostModel LoadOrProfile(const std::string& path, const CostProfileParts& parts);

// Failures are logged: the next start profiles again.
void SaveCostModel(const std::string& path, const CostModel& model);

}  // namespace tandem
