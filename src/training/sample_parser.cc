#include "training/sample_parser.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/json.h"
#include "base/names.h"
#include "base/status.h"
#include "tokenizer/utf8.h"
#include "training/json_locate.h"

namespace tandem {
namespace {

constexpr const char* kFormats = R"(want {"messages"}, {"prompt", "completion"} or {"text"})";
constexpr size_t kMaxReasonBytes = 240;  // a reason may quote a key, or what the parser read last: a whole document

const std::vector<std::string>& FormatKeys() {
  static const std::vector<std::string>& keys =
      *new std::vector<std::string>{"messages", "prompt", "completion", "text"};
  return keys;
}

const std::vector<std::string>& Roles() {
  static const std::vector<std::string>& roles =
      *new std::vector<std::string>{"system", "developer", "user", "assistant", "tool"};
  return roles;
}

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Cut at a character's start.
std::string Shorten(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<uint8_t>(text[limit]) & 0xc0) == 0x80) --limit;
  return std::string(text.substr(0, limit)) + "...";
}

// ParseJson's "line 1, column 7: reason" as "7: reason" in characters; other messages point at the line's start.
absl::Status MalformedJson(std::string_view line, std::string_view message) {
  constexpr std::string_view kPrefix = "line 1, column ";
  size_t byte = 0;
  if (message.starts_with(kPrefix)) {
    message.remove_prefix(kPrefix.size());
    while (!message.empty() && absl::ascii_isdigit(message[0])) {
      byte = byte * 10 + static_cast<size_t>(message[0] - '0');
      message.remove_prefix(1);
    }
    byte -= byte > 0;
    if (message.starts_with(": ")) message.remove_prefix(2);
  }
  return LineErrorAt(line, byte, absl::StrCat("malformed JSON: ", std::string(message)));
}

// The string member `key` of the object at `path`.
absl::StatusOr<std::string> StringMember(std::string_view line, const Json& object, const std::string& key,
                                         const std::string& name, JsonPath path) {
  const auto found = object.find(key);
  if (found == object.end()) {
    return LineErrorAt(line, LocateJson(line, path), absl::StrCat(name, " is missing, want a string"));
  }
  path.emplace_back(key);
  if (!found->is_string()) {
    return LineErrorAt(line, LocateJson(line, path),
                       absl::StrCat(name, " is ", DescribeJson(*found), ", want a string"));
  }
  return found->get<std::string>();
}

absl::StatusOr<ChatMessage> ParseMessage(std::string_view line, const Json& value, size_t index) {
  const std::string name = absl::StrCat("messages[", index, "]");
  const JsonPath path = {"messages", index};
  if (!value.is_object()) {
    return LineErrorAt(line, LocateJson(line, path),
                       absl::StrCat(name, " is ", DescribeJson(value), R"(, want {"role", "content"})"));
  }
  for (const auto& [key, member] : value.items()) {
    if (key == "role" || key == "content") continue;
    return LineErrorAt(line, LocateJson(line, {"messages", index, key}),
                       absl::StrCat("unknown key '", key, "' in ", name, SuggestNames(key, {"role", "content"})));
  }
  ChatMessage message;
  ASSIGN_OR_RETURN(message.role, StringMember(line, value, "role", name + ".role", path));
  ASSIGN_OR_RETURN(message.content, StringMember(line, value, "content", name + ".content", path));
  if (!Contains(Roles(), message.role)) {
    return LineErrorAt(line, LocateJson(line, {"messages", index, "role"}),
                       absl::StrCat("unknown role '", message.role, "'", SuggestNames(message.role, Roles())));
  }
  return message;
}

absl::StatusOr<ParsedSample> ParseChat(std::string_view line, const Json& messages) {
  const size_t at = LocateJson(line, {"messages"});
  if (!messages.is_array()) {
    return LineErrorAt(line, at, absl::StrCat("messages is ", DescribeJson(messages), ", want an array"));
  }
  if (messages.empty()) return LineErrorAt(line, at, "messages is empty, want at least one");
  ChatSample sample;
  for (size_t i = 0; i < messages.size(); ++i) {
    ASSIGN_OR_RETURN(ChatMessage message, ParseMessage(line, messages[i], i));
    sample.messages.push_back(std::move(message));
  }
  return ParsedSample(std::move(sample));
}

absl::StatusOr<ParsedSample> ParseCompletion(std::string_view line, const Json& object) {
  CompletionSample sample;
  ASSIGN_OR_RETURN(sample.prompt, StringMember(line, object, "prompt", "prompt", {}));
  ASSIGN_OR_RETURN(sample.completion, StringMember(line, object, "completion", "completion", {}));
  if (sample.completion.empty()) return LineErrorAt(line, LocateJson(line, {"completion"}), "completion is empty");
  return ParsedSample(std::move(sample));
}

absl::StatusOr<ParsedSample> ParseText(std::string_view line, const Json& object) {
  TextSample sample;
  ASSIGN_OR_RETURN(sample.text, StringMember(line, object, "text", "text", {}));
  if (sample.text.empty()) return LineErrorAt(line, LocateJson(line, {"text"}), "text is empty");
  return ParsedSample(std::move(sample));
}

absl::Status CheckKeys(std::string_view line, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    if (Contains(FormatKeys(), key)) continue;
    return LineErrorAt(line, LocateJson(line, {key}),
                       absl::StrCat("unknown key '", key, "'", SuggestNames(key, FormatKeys())));
  }
  std::vector<std::string> formats;  // one key of each that is there
  if (object.contains("messages")) formats.emplace_back("messages");
  if (object.contains("prompt") || object.contains("completion")) {
    formats.emplace_back(object.contains("prompt") ? "prompt" : "completion");
  }
  if (object.contains("text")) formats.emplace_back("text");
  if (formats.empty()) return LineErrorAt(line, LocateJson(line, {}), absl::StrCat("an empty object, ", kFormats));
  if (formats.size() > 1) {
    return LineErrorAt(line, LocateJson(line, {formats[1]}),
                       absl::StrCat("'", formats[0], "' and '", formats[1], "' in one line, ", kFormats));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LineErrorAt(std::string_view line, size_t at, const std::string& reason) {
  const size_t column = CountCodePoints(line.substr(0, at)) + 1;
  return absl::InvalidArgumentError(absl::StrCat(column, ": ", Shorten(reason, kMaxReasonBytes)));
}

absl::StatusOr<ParsedSample> ParseSample(std::string_view line) {
  if (const size_t bad = FindInvalidUtf8(line); bad != line.npos) {
    const auto byte = static_cast<uint8_t>(line[bad]);
    return LineErrorAt(line, bad, absl::StrFormat("invalid UTF-8: byte 0x%02x", byte));
  }
  const absl::StatusOr<Json> json = ParseJson(line);
  if (!json.ok()) return MalformedJson(line, std::string(json.status().message()));
  if (!json->is_object()) {
    return LineErrorAt(line, LocateJson(line, {}), absl::StrCat(DescribeJson(*json), ", ", kFormats));
  }
  RETURN_IF_ERROR(CheckKeys(line, *json));
  if (json->contains("messages")) return ParseChat(line, json->at("messages"));
  if (json->contains("text")) return ParseText(line, *json);
  return ParseCompletion(line, *json);
}

}  // namespace tandem
