// post_processor of tokenizer.json: the ids it puts before and behind one encoded text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace tandem {

struct AddedIds {
  std::vector<int32_t> before, behind;
};

// `config` may be null: nothing is added. INVALID_ARGUMENT names the field, under `path`, that is wrong or not
// supported.
absl::StatusOr<AddedIds> ReadPostProcessor(const Json* config, const std::string& path);

}  // namespace tandem
