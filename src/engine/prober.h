// Runs probes of the cost model's profile on the loaded model: iterations over token 0, in blocks that are free again
// afterwards.
#pragma once

#include <vector>

#include "adapter/adapter_store.h"
#include "kv/block_pool.h"
#include "model/model.h"
#include "model/tape.h"
#include "sched/profile.h"

namespace tandem {

class Prober {
 public:
  struct Parts {
    Model* model = nullptr;      // all borrowed; no step may run beside a probe
    Backend* backend = nullptr;  // the model's
    BlockPool* pool = nullptr;
    AdapterStore* adapters = nullptr;  // a working copy for the probes of training; gone with the prober
  };
  Prober(const Parts& parts, const ProbeLimits& limits);
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;
  ~Prober();

  const ProbeLimits& limits() const { return limits_; }

  // What the model took for it. RESOURCE_EXHAUSTED where the pool has no room for its sequence, FAILED_PRECONDITION
  // where backward was through before what was to be timed beside it.
  absl::StatusOr<absl::Duration> Run(const Probe& probe);

 private:
  std::vector<TokenWindow> UnitsOf(const Probe& probe) const;
  Batch MakeBatch(const Probe& probe, std::span<const BlockId> blocks);

  const Parts parts_;
  const ProbeLimits limits_;
  AdapterRef adapter_;
  std::vector<DeviceTensor> gradient_tensors_;
  std::vector<LayerGradients> gradients_;
  Tape tape_;
};

}  // namespace tandem
