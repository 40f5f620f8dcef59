#include "adapter/peft_files.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "adapter/test_adapters.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "golden/golden.h"
#include "gtest/gtest.h"
#include "store/test_files.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

void ExpectSame(const AdapterWeights& got, const AdapterWeights& want) {
  EXPECT_EQ(got.rank(), want.rank());
  EXPECT_EQ(got.alpha(), want.alpha());
  EXPECT_EQ(got.scale(), want.scale());
  EXPECT_EQ(got.spec().method, want.spec().method);
  EXPECT_EQ(got.spec().targets, want.spec().targets);
  EXPECT_EQ(got.spec().feedforward, want.spec().feedforward);
  EXPECT_EQ(got.spec().activation, want.spec().activation);
  ASSERT_EQ(got.bypasses().size(), want.bypasses().size());
  for (size_t i = 0; i < got.bypasses().size(); ++i) {
    const BypassWeights &g = got.bypasses()[i], &w = want.bypasses()[i];
    EXPECT_EQ(g.layer, w.layer);
    EXPECT_EQ(g.linear, w.linear);
    for (Tensor BypassWeights::*const tensor : {&BypassWeights::a, &BypassWeights::b, &BypassWeights::factor}) {
      ASSERT_EQ((g.*tensor).shape(), (w.*tensor).shape());
      EXPECT_EQ(std::memcmp((g.*tensor).data(), (w.*tensor).data(), (g.*tensor).size_bytes()), 0);
    }
  }
}

TEST(ReadPeftAdapter, ReadsWhatPeftWroteForSomeModules) {
  const auto weights = ReadPeftAdapter(GoldenPath("lora/qv_rank4/random_b"), GoldenShapes());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->rank(), 4);
  EXPECT_EQ(weights->alpha(), 8);
  EXPECT_EQ(weights->scale(), 2.0f);
  EXPECT_THAT(weights->spec().targets, ElementsAre(LinearKind::kQProj, LinearKind::kVProj));
  EXPECT_THAT(weights->bypasses(), SizeIs(6));
  const auto file = SafetensorsFile::Open(GoldenPath("lora/qv_rank4/random_b/adapter_model.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto b = (*file)->Find("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(std::memcmp(weights->Find(1, LinearKind::kVProj)->b.data(), b->data, b->size_bytes()), 0);
}

TEST(ReadPeftAdapter, ReadsWhatPeftWroteForAllLinears) {
  const auto weights = ReadPeftAdapter(GoldenPath("lora/all_rank3/init"), GoldenShapes());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->bypasses(), SizeIs(3 * kNumLinears));
  for (const BypassWeights& pair : weights->bypasses()) EXPECT_EQ(pair.b.f32()[0], 0.0f);
}

TEST(WritePeftAdapter, WhatIsWrittenIsReadBackBitForBit) {
  const TempDir dir;
  for (const std::string name : {"lora/qv_rank4", "lora/all_rank3", "adapters/dora_all", "adapters/ia3",
                                 "adapters/ia3_all", "adapters/bottleneck"}) {
    const auto weights = ReadPeftAdapter(GoldenPath(name + "/final"), GoldenShapes());
    ASSERT_TRUE(weights.ok()) << weights.status();
    const std::string path = dir.Path(name.substr(name.find('/') + 1));
    ASSERT_TRUE(WritePeftAdapter(path, *weights, "tests/model").ok());
    const auto again = ReadPeftAdapter(path, GoldenShapes());
    ASSERT_TRUE(again.ok()) << again.status();
    ExpectSame(*again, *weights);
  }
}

TEST(ReadPeftAdapter, ReadsWhatPeftWroteOfOtherMethods) {
  const auto dora = ReadPeftAdapter(GoldenPath("adapters/dora_all/random_b"), GoldenShapes());
  ASSERT_TRUE(dora.ok()) << dora.status();
  EXPECT_EQ(dora->spec().method, PeftMethod::kDora);
  EXPECT_EQ(dora->spec().scaling, LoraScaling::kRankStabilized);
  EXPECT_EQ(dora->Find(0, LinearKind::kKProj)->factor.shape(), Shape({32}));
  const auto ia3 = ReadPeftAdapter(GoldenPath("adapters/ia3_all/random_b"), GoldenShapes());
  ASSERT_TRUE(ia3.ok()) << ia3.status();
  EXPECT_EQ(ia3->spec().method, PeftMethod::kIa3);
  EXPECT_THAT(ia3->spec().feedforward, ElementsAre(LinearKind::kQProj, LinearKind::kUpProj, LinearKind::kDownProj));
  EXPECT_EQ(ia3->Find(0, LinearKind::kDownProj)->factor.shape(), Shape({160}));
}

// The same tensors under the same keys as peft's own file, and a config whose fields say the same.
TEST(WritePeftAdapter, WritesThePeftFormat) {
  const TempDir dir;
  for (const std::string name : {"lora/qv_rank4", "adapters/dora_all", "adapters/ia3"}) {
    const std::string golden = GoldenPath(name + "/final"), out = dir.Path(name.substr(name.find('/') + 1));
    const auto weights = ReadPeftAdapter(golden, GoldenShapes());
    ASSERT_TRUE(WritePeftAdapter(out, *weights, "models/demo").ok());
    const auto ours = SafetensorsFile::Open(out + "/adapter_model.safetensors");
    const auto pefts = SafetensorsFile::Open(golden + "/adapter_model.safetensors");
    ASSERT_TRUE(ours.ok() && pefts.ok());
    EXPECT_EQ((*ours)->names(), (*pefts)->names());
    for (const std::string& tensor : (*ours)->names()) {
      EXPECT_EQ((*ours)->Find(tensor)->shape, (*pefts)->Find(tensor)->shape) << tensor;
    }

    const Json config = *ParseJson(*ReadFile(out + "/adapter_config.json"));
    const Json reference = *ParseJson(*ReadFile(golden + "/adapter_config.json"));
    for (const auto& [key, value] : config.items()) {
      if (key == "base_model_name_or_path") continue;
      Json sorted = value;
      if (sorted.is_array()) std::sort(sorted.begin(), sorted.end());  // a set to peft
      EXPECT_EQ(sorted, reference[key]) << name << " " << key;
    }
    EXPECT_EQ(config["base_model_name_or_path"], "models/demo");
  }
}

TEST(WritePeftAdapter, LeavesNothingBesideTheDirectory) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("out/"), TestAdapter(TinyShapes(), 2, 1.0f), "").ok());
  std::vector<std::string> entries;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) entries.push_back(entry.path().filename());
  EXPECT_THAT(entries, ElementsAre("out"));
  EXPECT_EQ(std::filesystem::status(dir.Path("out")).permissions(), std::filesystem::perms(0755));
}

TEST(WritePeftAdapter, DoesNotTouchWhatStandsThere) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("out"), TestAdapter(TinyShapes(), 2, 1.0f), "").ok());
  const absl::Status status = WritePeftAdapter(dir.Path("out"), TestAdapter(TinyShapes(), 2, 2.0f), "");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(ReadPeftAdapter(dir.Path("out"), TinyShapes())->bypasses()[0].a.f32()[0], 1.0f);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1) << "the temporary directory is gone";
}

TEST(WritePeftAdapter, WithoutAParentIsNotFound) {
  const TempDir dir;
  EXPECT_EQ(WritePeftAdapter(dir.Path("absent/out"), TestAdapter(TinyShapes(), 2, 1.0f), "").code(),
            absl::StatusCode::kNotFound);
}

// Pairs on q_proj of layer 0 and v_proj of layer 1: short names would say more than there is.
TEST(WritePeftAdapter, NamesWholeModulesWhereLayersDiffer) {
  const TempDir dir;
  AdapterWeights all = TestAdapter(GoldenShapes(), 2, 0.5f);
  std::vector<BypassWeights> some;
  some.push_back(std::move(all.bypasses()[0]));
  some.push_back(std::move(all.bypasses()[3]));
  const AdapterWeights weights(all.spec(), std::move(some));
  ASSERT_TRUE(WritePeftAdapter(dir.Path("out"), weights, "").ok());
  const Json config = *ParseJson(*ReadFile(dir.Path("out/adapter_config.json")));
  EXPECT_EQ(config["target_modules"], Json({"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}));
  const auto again = ReadPeftAdapter(dir.Path("out"), GoldenShapes());
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectSame(*again, weights);
}

// The tensors and config of a small adapter, to be changed before they are read.
class PeftVariantTest : public ::testing::Test {
 protected:
  PeftVariantTest() {
    EXPECT_TRUE(WritePeftAdapter(path_, TestAdapter(TinyShapes(), 4, 1.5f), "").ok());
    config_ = *ParseJson(*ReadFile(path_ + "/adapter_config.json"));
  }
  absl::StatusOr<AdapterWeights> Read(const Json& config) {
    dir_.Write("adapter/adapter_config.json", config.dump());
    return ReadPeftAdapter(path_, TinyShapes());
  }
  TempDir dir_;
  const std::string path_ = dir_.Path("adapter");
  Json config_;
};

TEST_F(PeftVariantTest, RankStabilizedScalingIsKeptOnTheWayThroughFiles) {
  config_["use_rslora"] = true;
  const auto weights = Read(config_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->scale(), 2.0f);  // alpha 4 / sqrt(rank 4)
  ASSERT_TRUE(WritePeftAdapter(dir_.Path("again"), *weights, "").ok());
  EXPECT_EQ(ReadPeftAdapter(dir_.Path("again"), TinyShapes())->scale(), 2.0f);
}

TEST_F(PeftVariantTest, AlphaNeedNotBeAnInteger) {
  config_["lora_alpha"] = 2.5;
  const auto weights = Read(config_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  ASSERT_TRUE(WritePeftAdapter(dir_.Path("again"), *weights, "").ok());
  EXPECT_EQ(ReadPeftAdapter(dir_.Path("again"), TinyShapes())->alpha(), 2.5);
}

TEST_F(PeftVariantTest, TargetModulesMayBeWholeNamesEndsOfNamesOrAPattern) {
  config_["target_modules"] = {"model.layers.0.self_attn.q_proj", "self_attn.v_proj"};
  EXPECT_TRUE(Read(config_).ok());
  config_["target_modules"] = ".*\\.(q|v)_proj";
  EXPECT_TRUE(Read(config_).ok());
  config_["target_modules"] = "all-linear";
  EXPECT_TRUE(Read(config_).ok()) << "a pattern too: the tensors say what it matched";
}

TEST_F(PeftVariantTest, FieldsThatChangeNothingPass) {
  config_["init_lora_weights"] = "gaussian";
  config_["lora_dropout"] = 0.1;
  config_["runtime_config"] = {{"ephemeral_gpu_offload", false}};
  config_["qalora_group_size"] = 16;
  config_["megatron_core"] = "megatron.core";
  config_["auto_mapping"] = {{"base_model_class", "LlamaForCausalLM"}};
  config_["task_type"] = nullptr;
  config_["loftq_config"] = Json::object();
  const auto weights = Read(config_);
  EXPECT_TRUE(weights.ok()) << weights.status();
}

TEST_F(PeftVariantTest, SixteenBitTensorsAreWidenedExactly) {
  std::vector<uint16_t> bf16(16, F32ToBf16(1.25f)), f16(16, F32ToF16(-0.375f));
  std::vector<NamedTensor> tensors;
  for (const char* module : {"q_proj", "v_proj"}) {
    const std::string prefix = std::string("base_model.model.model.layers.0.self_attn.") + module;
    tensors.push_back({prefix + ".lora_A.weight", {bf16.data(), DType::kBf16, {4, 4}}});
    tensors.push_back({prefix + ".lora_B.weight", {f16.data(), DType::kF16, {4, 4}}});
  }
  ASSERT_TRUE(WriteSafetensors(path_ + "/adapter_model.safetensors", tensors, {}).ok());
  const auto weights = Read(config_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->bypasses()[1].a.f32()[15], 1.25f);
  EXPECT_EQ(weights->bypasses()[1].b.f32()[15], -0.375f);
}

}  // namespace
}  // namespace tandem
