// Files of the tokenizer tests: goldens, and model directories that a test writes itself.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tokenizer/tokenizer.h"

namespace tandem {

// Of tests/golden/tokenizer; keys keep their order. A missing or broken file ends the test binary.
std::string ReadGoldenText(const std::string& name);
nlohmann::ordered_json ReadGolden(const std::string& name);

// A directory that lives as long as the object.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& contents) const;

 private:
  std::string path_;
};

// Loads a directory that holds this tokenizer.json.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& json);

// A byte-level BPE with the 256 bytes as tokens 0 to 255, then " t" (256), "he" (257), " the" (258), and the special
// tokens
// <|begin|> (259) and <|end|> (260), as the document that tests change.
nlohmann::ordered_json SmallByteLevelConfig();

}  // namespace tandem
