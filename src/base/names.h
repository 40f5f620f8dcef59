// "Unknown adapter 'suport'; did you mean 'support'?": every refusal of a name offers the nearest valid ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Levenshtein distance between a and b, in bytes.
int EditDistance(std::string_view a, std::string_view b);

// Up to `limit` of `candidates` that are close enough to `name` to be a likely slip, nearest first; none where `name`
// is longer than anybody's name.
std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates, int limit = 3);

// "; did you mean 'a' or 'b'?" or, where nothing is near, "; known: a, b, c" (at most 8), or "" without candidates.
std::string SuggestNames(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace tandem
