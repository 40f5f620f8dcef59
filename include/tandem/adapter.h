// Adapters as other folders name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace tandem {

// One immutable generation of one adapter, or one job's working copy. id 0 is the bare base model.
struct AdapterRef {
  int32_t id = 0;
  int32_t generation = 0;
  bool is_base() const { return id == 0; }
  bool operator==(const AdapterRef&) const = default;
};

struct AdapterInfo {
  std::string name;
  int generation = 0;  // the one that new requests get; numbered from 1
  int rank = 0;
  double alpha = 0;
  std::vector<std::string> target_modules;  // short names: "q_proj"
  int64_t num_parameters = 0;
  std::string path;    // the PEFT directory of this generation; "" where it has none
  std::string job_id;  // the job that published it; "" where loaded from a file
  absl::Time created;
};

}  // namespace tandem
