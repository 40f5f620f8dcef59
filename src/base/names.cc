#include "base/names.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

// Bytes. What is longer is no slip of anything, and comparing it would take its length times the candidate's.
constexpr size_t kLongestName = 256;

}  // namespace

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates, int limit) {
  if (name.size() > kLongestName) return {};
  const int worst = std::max<int>(2, static_cast<int>(name.size()) / 3);
  std::vector<std::pair<int, std::string>> near;
  for (const std::string& candidate : candidates) {
    const int distance = EditDistance(name, candidate);
    const bool prefix = !name.empty() && (candidate.starts_with(name) || name.starts_with(candidate));
    if (distance <= worst || prefix) near.emplace_back(distance, candidate);
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (const auto& [distance, candidate] : near) {
    if (static_cast<int>(names.size()) == limit) break;
    names.push_back(candidate);
  }
  return names;
}

std::string SuggestNames(std::string_view name, const std::vector<std::string>& candidates) {
  const auto quote = [](std::string* out, const std::string& s) { absl::StrAppend(out, "'", s, "'"); };
  const std::vector<std::string> near = NearestNames(name, candidates);
  if (!near.empty()) return absl::StrCat("; did you mean ", absl::StrJoin(near, " or ", quote), "?");
  if (candidates.empty()) return "";
  const std::vector<std::string> known(candidates.begin(), candidates.begin() + std::min<size_t>(8, candidates.size()));
  return absl::StrCat("; known: ", absl::StrJoin(known, ", "), candidates.size() > 8 ? ", ..." : "");
}

}  // namespace tandem
