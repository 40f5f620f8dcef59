// Schemas as documents: references, and several schemas that hold at once as one.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace tandem::grammar {

using SchemaJson = nlohmann::ordered_json;  // properties are written in the order of the schema

// INVALID_ARGUMENT "at #/properties/a: what".
absl::Status SchemaError(std::string_view path, std::string_view what);

// What "#", "#/$defs/x" or any other path from the root points to; borrowed from `root`.
absl::StatusOr<const SchemaJson*> FindReference(const SchemaJson& root, const SchemaJson& reference,
                                                std::string_view path);

// `schema` as one without $ref and allOf at its top: all that they demand stands in it. References within allOf that
// lead back to themselves are refused, and so is what takes more schemas than `work_left`, which is counted down.
absl::StatusOr<SchemaJson> Flatten(const SchemaJson& root, const SchemaJson& schema, std::string_view path,
                                   int* work_left);

// What fits both. Refused by name where that cannot be written as one schema. Neither has $ref or allOf at its top.
absl::StatusOr<SchemaJson> MergeSchemas(const SchemaJson& a, const SchemaJson& b, std::string_view path);

}  // namespace tandem::grammar
