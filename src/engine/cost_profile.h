// Where the scheduler's cost model comes from: a file of an earlier run, or a guess from the model's shape that a
// profile corrects in the daemon's first idle seconds. Neither keeps it from being ready.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/prober.h"
#include "sched/cost_model.h"

namespace tandem {

// "<directory>/<model> <hash>.json": one file for each device, model, dtype and number of threads.
std::string CostModelPath(const std::string& directory, const std::string& model_path, const ModelDesc& desc,
                          const std::string& device, const std::string& dtype);

ModelShape ShapeOf(const ModelDesc& desc, DType weight_dtype);

// NOT_FOUND where there is no file; INVALID_ARGUMENT where it is not one of this version.
absl::StatusOr<CostModel> LoadCostModel(const std::string& path);
// Failures are logged: the next start profiles again.
void SaveCostModel(const std::string& path, const CostModel& model);

// The profile, one run at a time, so that a request waits for one of them at most. Step thread only.
class IdleProfile {
 public:
  // Ends when the runs have taken `limit` together.
  IdleProfile(const Prober::Parts& parts, const ProbeLimits& limits, std::vector<Probe> probes, absl::Duration limit);

  bool done() const { return next_ == probes_.size(); }
  size_t probes_done() const { return next_; }
  size_t num_probes() const { return probes_.size(); }

  // The next run; the model learns from a probe's last.
  void RunNext(CostModel& model);

 private:
  void Advance();

  Prober prober_;
  const std::vector<Probe> probes_;
  const absl::Duration limit_;
  absl::Duration spent_, least_;
  size_t next_ = 0;  // probe
  int runs_ = 0;     // of it
};

}  // namespace tandem
