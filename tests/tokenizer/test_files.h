// Files of the tokenizer tests: goldens, and model directories that a test writes itself.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

inline std::string GoldenPath(const std::string& name) {
  return std::string(TANDEM_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
}

inline Json ReadGolden(const std::string& name) {
  const auto text = ReadFile(GoldenPath(name));
  if (!text.ok()) throw std::runtime_error(std::string(text.status().message()));
  return Json::parse(*text);
}

// A directory that lives as long as the object.
class TestDirectory {
 public:
  TestDirectory() {
    std::string pattern = ::testing::TempDir() + "tokenizer_XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& contents) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << contents;
  }

 private:
  std::string path_;
};

inline absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& json) {
  TestDirectory directory;
  directory.Write("tokenizer.json", json);
  return Tokenizer::Load(directory.path());
}

}  // namespace tandem
