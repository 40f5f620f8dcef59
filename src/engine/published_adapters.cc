#include "engine/published_adapters.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> Directories(const fs::path& parent) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::vector<PublishedAdapter> FindPublishedAdapters(const std::string& directory) {
  std::vector<PublishedAdapter> adapters;
  for (const fs::path& named : Directories(directory)) {
    PublishedAdapter newest = {.name = named.filename().string()};
    for (const fs::path& path : Directories(named)) {
      int generation = 0;
      if (!absl::SimpleAtoi(path.filename().string(), &generation) || generation <= newest.generation) continue;
      newest.generation = generation;
      newest.path = path.string();
    }
    if (newest.generation > 0) adapters.push_back(std::move(newest));
  }
  return adapters;
}

}  // namespace tandem
