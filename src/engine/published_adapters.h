// What jobs published before the daemon was started: directory/<name>/<generation>/, each a PEFT directory.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct PublishedAdapter {
  std::string name;
  int generation = 0;
  std::string path;
};

// The newest generation of every name, by name. Empty where the directory does not exist; entries that are not of this
// form are passed over.
std::vector<PublishedAdapter> FindPublishedAdapters(const std::string& directory);

}  // namespace tandem
