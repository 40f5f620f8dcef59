#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {

absl::Status Vocabulary::Fill(std::vector<std::pair<std::string, int64_t>> entries) {
  int64_t highest = -1;
  for (const auto& [token, id] : entries) {
    if (id < 0 || id > kMaxId) {
      return absl::InvalidArgumentError(absl::StrCat("token '", token, "' has id ", id, ", want 0 to ", kMaxId));
    }
    highest = std::max(highest, id);
  }
  tokens_.assign(highest + 1, "");
  present_.assign(highest + 1, false);
  ids_.clear();
  ids_.reserve(entries.size());
  for (auto& [token, id] : entries) {
    if (present_[id]) {
      return absl::InvalidArgumentError(absl::StrCat("tokens '", tokens_[id], "' and '", token, "' share id ", id));
    }
    present_[id] = true;
    tokens_[id] = std::move(token);
    ids_[tokens_[id]] = static_cast<int32_t>(id);
  }
  return absl::OkStatus();
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string& Vocabulary::TokenOf(int32_t id) const {
  static const std::string* const kNone = new std::string;
  return Contains(id) ? tokens_[id] : *kNone;
}

bool Vocabulary::Contains(int32_t id) const {
  return id >= 0 && id < end_id() && present_[id];
}

std::vector<int32_t> FindByteTokens(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids;
  for (int byte = 0; byte < 256; ++byte) {
    ids.push_back(vocabulary.Find(absl::StrFormat("<0x%02X>", byte)).value_or(-1));
  }
  return ids;
}

}  // namespace tandem
