#include "tokenizer/test_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "base/file.h"
#include "tokenizer/byte_level.h"

namespace tandem {
namespace {

std::string ByteLevel(const std::string& text) {
  std::string token;
  AppendByteLevel(text, &token);
  return token;
}

}  // namespace

std::string ReadGoldenText(const std::string& name) {
  auto text = ReadFile(std::string(TANDEM_SOURCE_DIR) + "/tests/golden/tokenizer/" + name);
  CHECK(text.ok()) << text.status();
  return *std::move(text);
}

nlohmann::ordered_json ReadGolden(const std::string& name) {
  return nlohmann::ordered_json::parse(ReadGoldenText(name));
}

TestDirectory::TestDirectory() {
  std::string pattern = ::testing::TempDir() + "tokenizer_XXXXXX";
  CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TestDirectory::~TestDirectory() {
  std::filesystem::remove_all(path_);
}

void TestDirectory::Write(const std::string& name, const std::string& contents) const {
  std::ofstream(path_ + "/" + name, std::ios::binary) << contents;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& json) {
  const TestDirectory directory;
  directory.Write("tokenizer.json", json);
  return Tokenizer::Load(directory.path());
}

nlohmann::ordered_json SmallByteLevelConfig() {
  nlohmann::ordered_json config = {
      {"version", "1.0"},
      {"added_tokens", nlohmann::ordered_json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"model", {{"type", "BPE"}, {"vocab", nlohmann::ordered_json::object()}}},
  };
  auto& vocab = config["model"]["vocab"];
  for (int byte = 0; byte < 256; ++byte) vocab[ByteLevel(std::string(1, static_cast<char>(byte)))] = byte;
  vocab[ByteLevel(" t")] = 256;
  vocab["he"] = 257;
  vocab[ByteLevel(" the")] = 258;
  config["model"]["merges"] = {ByteLevel(" ") + " t", "h e", ByteLevel(" t") + " he"};
  for (int i = 0; i < 2; ++i) {
    config["added_tokens"].push_back({{"id", 259 + i},
                                      {"content", i == 0 ? "<|begin|>" : "<|end|>"},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
  }
  return config;
}

}  // namespace tandem
