// The daemon's status as it is watched in a terminal: fed with what is polled, it gives lines; drawing is the caller's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "tandem/v1/daemon.pb.h"
#include "tandem/v1/finetuning.pb.h"

namespace tandem {

// "12 decode + 64 prefill + 32 training rows, 96 backward": what an iteration was made of.
std::string IterationRows(const v1::SchedulerStatus& scheduler);
// "31.2 ms measured, 30.8 ms predicted (mean error 2.1 %), budget 45.0 ms"; without a cost model the first alone.
std::string IterationTime(const v1::SchedulerStatus& scheduler);
// "99.2 % of 512 requests within their targets, 100.0 % lately"; "no request had a target" where none had.
std::string SloText(const v1::SchedulerStatus& scheduler);

class StatusView {
 public:
  void Add(const v1::DaemonStatus& status, const v1::ListJobsResponse& jobs);

  // The live picture; no line is longer than the terminal is wide.
  std::vector<std::string> Live(const Terminal& terminal) const;

 private:
  struct Job {
    v1::Job last;
    std::vector<double> losses;  // one for each step that was seen
  };

  v1::DaemonStatus status_;
  std::map<std::string, Job> jobs_;           // those that run or wait, by id
  std::vector<double> step_ms_, attainment_;  // one for each poll, the last kHistory
};

}  // namespace tandem
