// Who may call: named API keys, compared in a time that tells nothing about them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

struct ApiKey {
  std::string name;  // whose it is: in the log, and owner of requests
  std::string key;
  bool operator==(const ApiKey&) const = default;
};

// Names as of adapters and no two alike, keys of 16 to 512 visible ASCII characters and no two alike. The message names
// a key by its name, never by its text. `field`: where they stand, for the message.
absl::Status CheckApiKeys(std::string_view field, const std::vector<ApiKey>& keys);

// A file of "NAME KEY" lines; empty ones and those that begin with '#' are passed over.
absl::StatusOr<std::vector<ApiKey>> ReadApiKeys(const std::string& path);

// The key that `presented` is, or null. Its time depends on the length of `presented` and the number of keys only.
const ApiKey* FindApiKey(const std::vector<ApiKey>& keys, std::string_view presented);

// The key of an "authorization" header, "Bearer KEY"; UNAUTHENTICATED where it has another form.
absl::StatusOr<std::string_view> BearerKey(std::string_view header);

// What the engine knows a client's request by: an owner's ids are its own. Neither can be mistaken for another's, for a
// request id holds no '/'.
std::string ScopedRequestId(const std::string& owner, const std::string& request_id);

// 1 to 64 of letters, digits and "._:-", not beginning as the daemon's own ids do ("gen-").
absl::Status CheckRequestId(const std::string& request_id);

}  // namespace tandem
