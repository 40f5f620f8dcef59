// What the reader and the writer agree on about tensor names.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace tandem {

inline constexpr char kMetadataKey[] = "__metadata__";
inline constexpr size_t kMaxTensorNameBytes = 4096;  // bounds the search for near names

// "tensor 'model.norm.weight'": escaped and cut to a readable length.
std::string QuoteTensorName(std::string_view name);

// INVALID_ARGUMENT where the name is too long or holds a control character.
absl::Status CheckTensorName(std::string_view name);

}  // namespace tandem
