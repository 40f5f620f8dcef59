#include "serve/core/access.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

constexpr size_t kMinKey = 16, kMaxKey = 512;
constexpr size_t kMaxKeysFile = size_t{1} << 20;
constexpr size_t kMaxRequestId = 64;
constexpr std::string_view kScheme = "bearer ";

// Touches every byte of `presented`, whatever it finds.
bool SameText(std::string_view key, std::string_view presented) {
  volatile unsigned difference = key.size() == presented.size() ? 0 : 1;
  for (size_t i = 0; i < presented.size(); ++i) {
    const char want = key[i < key.size() ? i : 0];
    difference = difference | static_cast<unsigned char>(want ^ presented[i]);
  }
  return difference == 0;
}

}  // namespace

absl::Status CheckApiKeys(std::string_view field, const std::vector<ApiKey>& keys) {
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string at = absl::StrCat(std::string(field), "[", i, "]");
    RETURN_IF_ERROR(CheckAdapterName(at + ".name", keys[i].name));
    const std::string& key = keys[i].key;
    const bool visible = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
    if (key.size() < kMinKey || key.size() > kMaxKey || !visible) {
      return absl::InvalidArgumentError(absl::StrCat(at, " (", keys[i].name, ") has ", key.size(), " bytes, want ",
                                                     kMinKey, " to ", kMaxKey,
                                                     " visible ASCII characters: 'openssl rand -hex 24' makes one"));
    }
    for (size_t j = 0; j < i; ++j) {
      if (keys[j].name != keys[i].name && keys[j].key != key) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(at, " (", keys[i].name, ") has the name or the key of ", keys[j].name, ", want another"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ApiKey>> ReadApiKeys(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxKeysFile));
  std::vector<ApiKey> keys;
  int number = 0;
  for (const auto piece : absl::StrSplit(text, '\n')) {
    ++number;
    const std::string line(absl::StripAsciiWhitespace(piece));
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": ", words.size(), " words, want NAME KEY"));
    }
    keys.push_back({words[0], words[1]});
  }
  if (keys.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no key, want lines of NAME KEY"));
  RETURN_IF_ERROR(CheckApiKeys(path, keys));
  return keys;
}

const ApiKey* FindApiKey(const std::vector<ApiKey>& keys, std::string_view presented) {
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys) {
    if (SameText(key.key, presented)) found = &key;  // no early end: all keys are compared
  }
  return found;
}

absl::StatusOr<std::string_view> BearerKey(std::string_view header) {
  if (header.size() <= kScheme.size() || !absl::EqualsIgnoreCase(absl::string_view(header.data(), kScheme.size()),
                                                                 absl::string_view(kScheme.data(), kScheme.size()))) {
    return absl::UnauthenticatedError("the authorization header has another form, want 'Bearer KEY'");
  }
  return header.substr(kScheme.size());
}

std::string ScopedRequestId(const std::string& owner, const std::string& request_id) {
  return owner.empty() ? request_id : absl::StrCat(owner, "/", request_id);
}

absl::Status CheckRequestId(const std::string& request_id) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == ':' || c == '-'; };
  if (request_id.empty() || request_id.size() > kMaxRequestId ||
      !std::all_of(request_id.begin(), request_id.end(), allowed)) {
    return absl::InvalidArgumentError(absl::StrCat("request_id has ", request_id.size(), " bytes, want 1 to ",
                                                   kMaxRequestId, " of letters, digits, '.', '_', ':' and '-'"));
  }
  if (request_id.starts_with("gen-")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "request_id is '", request_id, "', want one that does not begin with 'gen-', as the daemon's own do"));
  }
  return absl::OkStatus();
}

}  // namespace tandem
