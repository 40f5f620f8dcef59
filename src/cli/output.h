// Writing results to stdout.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace tandem {

// Flushed at once. UNAVAILABLE where stdout takes no more (a closed pipe).
absl::Status Print(std::string_view text);

// One line, or indented over several; fields by their names in the .proto file, unset ones too.
enum class JsonLayout { kLine, kDocument };
absl::Status PrintJson(const google::protobuf::Message& message, JsonLayout layout);

}  // namespace tandem
