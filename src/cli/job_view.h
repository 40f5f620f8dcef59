// A job as it is watched in a terminal: progress, speed, time left and the curve of the loss. Fed with events, it gives
// text; drawing is the caller's.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/terminal.h"
#include "tandem/v1/finetuning.pb.h"

namespace tandem {

// "running", "succeeded", ...
std::string StateName(v1::JobState state);
std::string PaintedState(const Terminal& terminal, v1::JobState state);

absl::Time FromProto(const google::protobuf::Timestamp& time);

class JobView {
 public:
  // `job`: for its adapter's name and its number of steps.
  explicit JobView(const v1::Job& job);

  void Add(const v1::JobEvent& event);

  // The live picture, two lines of at most terminal.width columns: bar and figures, curve.
  std::vector<std::string> Live(const Terminal& terminal) const;

  // A line for an event that is more than progress: a change of state, a publication, a message; "" for a step.
  std::string Notice(const Terminal& terminal, const v1::JobEvent& event) const;

  // A step in one plain line, for logs; "" for the steps between each hundredth of the job.
  std::string Plain(const v1::JobEvent& event) const;

 private:
  absl::Duration TimeLeft() const;
  std::string Figures() const;

  const std::string adapter_;
  const int total_steps_;
  v1::JobState state_;
  v1::JobStep last_;
  std::vector<double> losses_;
  std::deque<std::pair<int, absl::Time>> recent_;  // the last steps and when they ended: speed for the time left
};

}  // namespace tandem
