#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/safetensors.h"
#include "store/test_files.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointTest : public ::testing::Test {
 protected:
  void WriteTensors(std::string_view file, const std::vector<std::pair<std::string, float>>& scalars) {
    std::vector<float> values;
    for (const auto& [name, value] : scalars) values.push_back(value);
    std::vector<NamedTensor> tensors;
    for (size_t i = 0; i < scalars.size(); ++i) tensors.push_back({scalars[i].first, View(&values[i], {1})});
    ASSERT_TRUE(WriteSafetensors(dir_.Path(file), tensors, {}).ok());
  }
  void WriteIndex(std::string_view json) { dir_.Write("model.safetensors.index.json", json); }
  std::string Refusal() {
    const auto checkpoint = Checkpoint::Open(dir_.path());
    EXPECT_EQ(checkpoint.status().code(), absl::StatusCode::kInvalidArgument) << checkpoint.status();
    return std::string(checkpoint.status().message());
  }
  TempDir dir_;
};

TEST_F(CheckpointTest, OpensASingleFile) {
  WriteTensors("model.safetensors", {{"a", 1}, {"b", 2}});
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->names(), ElementsAre("a", "b"));
  EXPECT_EQ((*checkpoint)->Find("b")->f32()[0], 2.0f);
}

TEST_F(CheckpointTest, OpensShardsThroughTheIndex) {
  WriteTensors("model-1.safetensors", {{"b", 2}, {"unlisted", 9}});
  WriteTensors("model-2.safetensors", {{"a", 1}});
  WriteIndex(R"({"metadata":{"total_size":8},"weight_map":{"a":"model-2.safetensors","b":"model-1.safetensors"}})");
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->names(), ElementsAre("a", "b"));
  EXPECT_EQ((*checkpoint)->Find("a")->f32()[0], 1.0f);
  EXPECT_EQ((*checkpoint)->Find("b")->f32()[0], 2.0f);
  EXPECT_FALSE((*checkpoint)->Contains("unlisted"));
}

TEST_F(CheckpointTest, AnUnknownNameSuggestsTheNearest) {
  WriteTensors("model.safetensors", {{"model.norm.weight", 1}});
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const absl::Status status = (*checkpoint)->Find("model.norm.weights").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean 'model.norm.weight'?"));
}

TEST_F(CheckpointTest, WithoutWeightsIsNotFound) {
  const absl::Status status = Checkpoint::Open(dir_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("neither model.safetensors nor model.safetensors.index.json"));
}

TEST_F(CheckpointTest, AMissingShardIsNotFoundByItsPath) {
  WriteIndex(R"({"weight_map":{"a":"gone.safetensors"}})");
  const absl::Status status = Checkpoint::Open(dir_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gone.safetensors"));
}

TEST_F(CheckpointTest, RefusesAnIndexThatPromisesWhatItsShardLacks) {
  WriteTensors("model-1.safetensors", {{"a.weight", 1}});
  WriteIndex(R"({"weight_map":{"a.weigh":"model-1.safetensors"}})");
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("tensor 'a.weigh' is not in model-1.safetensors"), HasSubstr("'a.weight'?")));
}

TEST_F(CheckpointTest, RefusesAnIndexThatLeavesItsDirectory) {
  for (const char* shard :
       {"../other.safetensors", "/etc/passwd", "sub/x.safetensors", "passwd", "x\\u0000.safetensors"}) {
    WriteIndex(R"({"weight_map":{"a":")" + std::string(shard) + R"("}})");
    EXPECT_THAT(Refusal(), HasSubstr("want a plain file name")) << shard;
  }
}

TEST_F(CheckpointTest, RefusesWrongTypesInTheIndex) {
  WriteIndex("[]");
  EXPECT_THAT(Refusal(), HasSubstr("an array, want an object"));
  WriteIndex("{}");
  EXPECT_THAT(Refusal(), HasSubstr("weight_map is missing"));
  WriteIndex(R"({"weight_map":[]})");
  EXPECT_THAT(Refusal(), HasSubstr("weight_map is an array"));
  WriteIndex(R"({"weight_map":{"a":1}})");
  EXPECT_THAT(Refusal(), HasSubstr("tensor 'a' is in the number 1, want a file name"));
  WriteIndex(R"({"weight_map")");
  EXPECT_THAT(Refusal(), HasSubstr("line 1, column"));
}

}  // namespace
}  // namespace tandem
