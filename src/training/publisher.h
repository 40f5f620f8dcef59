// Puts a job's adapter in service: a PEFT directory on disk first, then a new generation in the store, on the I/O
// thread. Also where every started job ends, so that its last event comes after all that its publications had to say.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "adapter/adapter_store.h"
#include "tandem/batch.h"
#include "training/io_executor.h"
#include "training/job_registry.h"

namespace tandem {

// Of one job. Step thread only; what it submits may outlive it.
class Publisher {
 public:
  // Borrowed until the last task has run.
  struct Parts {
    AdapterStore* store = nullptr;
    JobRegistry* registry = nullptr;
    IoExecutor* io = nullptr;
    std::string adapters_dir;  // a generation goes to adapters_dir/<name>/<number>/
    std::string base_model;    // for people who read the files
  };

  Publisher(const Parts& parts, JobId job, std::string adapter_name);

  // Submits the weights as the adapter's next generation. Where the disk lags behind by several, this one is
  // left out with a message, for copies must not pile up.
  void Publish(AdapterWeights weights, int step);
  // Publishes and ends the job: kSucceeded, or kCancelled where that was asked for before the write began, or kFailed.
  void PublishAndFinish(AdapterWeights weights);
  // Ends the job without a publication, after those that are under way.
  void Finish(JobState state, absl::Status error);

  // Why a publication failed; the job should end with it.
  absl::Status failure() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;  // shared with the submitted tasks
};

}  // namespace tandem
