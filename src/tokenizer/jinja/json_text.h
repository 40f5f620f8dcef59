// Between JSON and template values: variables in, tojson out.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

// Keys keep their order. INVALID_ARGUMENT for an integer over 64 bits.
absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json, Heap* heap);

// Python's json.dumps.
struct DumpOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; nullopt: one line
  std::string item_separator = ", ", key_separator = ": ";
};
// INVALID_ARGUMENT for what JSON cannot say (undefined, a macro), RESOURCE_EXHAUSTED where it becomes too long.
absl::StatusOr<std::string> DumpJson(const Value& value, const DumpOptions& options, Heap* heap);

}  // namespace tandem::jinja
