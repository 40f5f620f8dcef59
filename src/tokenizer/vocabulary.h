// Tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

namespace tandem {

class Vocabulary {
 public:
  // Ids may leave gaps, but none may be larger than this: the table is an array.
  static constexpr int32_t kMaxId = (1 << 22) - 1;

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // All entries at once; of equal tokens the last one counts. INVALID_ARGUMENT where an id is negative, too large or
  // taken.
  absl::Status Fill(std::vector<std::pair<std::string, int64_t>> entries);

  std::optional<int32_t> Find(std::string_view token) const;
  // "" for an id without a token.
  const std::string& TokenOf(int32_t id) const;
  bool Contains(int32_t id) const;
  int32_t num_tokens() const { return static_cast<int32_t>(ids_.size()); }
  int32_t end_id() const { return static_cast<int32_t>(tokens_.size()); }  // highest id + 1

 private:
  std::vector<std::string> tokens_;                     // by id; "" in gaps
  std::vector<bool> present_;                           // by id
  absl::flat_hash_map<std::string_view, int32_t> ids_;  // views of tokens_, which never grows
};

// [256] the ids of the tokens <0x00> ... <0xFF>, which stand for single bytes; -1 where there is none.
std::vector<int32_t> FindByteTokens(const Vocabulary& vocabulary);

}  // namespace tandem
