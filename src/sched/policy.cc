#include "sched/policy.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace tandem {

int TrainingBlocksLimit(const SchedulerOptions& options, int num_blocks) {
  return static_cast<int>(options.training_blocks_limit * num_blocks);
}

absl::Status ValidateSchedulerOptions(const SchedulerOptions& options) {
  const auto refuse = [](std::string_view name, auto got, std::string_view want) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), " is ", got, ", want ", std::string(want)));
  };
  if (options.max_batch_rows < 1) return refuse("max_batch_rows", options.max_batch_rows, "at least 1");
  if (options.max_prefill_rows < 1) return refuse("max_prefill_rows", options.max_prefill_rows, "at least 1");
  if (options.training_rows_beside_inference < 0) {
    return refuse("training_rows_beside_inference", options.training_rows_beside_inference, "at least 0");
  }
  if (options.max_running_requests < 1 || options.max_running_requests > options.max_batch_rows) {
    return refuse("max_running_requests", options.max_running_requests,
                  absl::StrCat("1 to max_batch_rows, ", options.max_batch_rows));
  }
  if (!(options.training_blocks_limit >= 0 && options.training_blocks_limit <= 1)) {
    return refuse("training_blocks_limit", options.training_blocks_limit, "0 to 1");
  }
  if (options.max_iteration <= absl::ZeroDuration()) return refuse("max_iteration", "0", "a positive duration");
  if (options.training_floor_rows < 0) return refuse("training_floor_rows", options.training_floor_rows, "at least 0");
  if (options.temporal_every < 1) return refuse("temporal_every", options.temporal_every, "at least 1");
  if (!(options.static_training_share >= 0 && options.static_training_share <= 1)) {
    return refuse("static_training_share", options.static_training_share, "0 to 1");
  }
  return absl::OkStatus();
}

}  // namespace tandem
