// One line of a training file as JSON: which of the three formats it is, and exactly what is wrong where it is none.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

struct ChatMessage {
  std::string role;  // system, developer, user, assistant, tool
  std::string content;
};

struct ChatSample {
  std::vector<ChatMessage> messages;  // >= 1
};

struct CompletionSample {
  std::string prompt;      // may be empty
  std::string completion;  // not empty
};

struct TextSample {
  std::string text;  // not empty
};

using ParsedSample = std::variant<ChatSample, CompletionSample, TextSample>;

// {"messages": [{"role", "content"}, ...]}, {"prompt", "completion"} or {"text"}. INVALID_ARGUMENT "COLUMN: reason",
// the column counted in characters from 1.
absl::StatusOr<ParsedSample> ParseSample(std::string_view line);

// INVALID_ARGUMENT "COLUMN: reason" for the byte offset `at` of `line`; long reasons are cut.
absl::Status LineErrorAt(std::string_view line, size_t at, const std::string& reason);

}  // namespace tandem
