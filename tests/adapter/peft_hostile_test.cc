// Adapter directories that must be refused, with the reason.
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "adapter/peft_files.h"
#include "adapter/test_adapters.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "golden/golden.h"
#include "gtest/gtest.h"
#include "store/safetensors.h"
#include "store/test_files.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Key(std::string_view module, char matrix) {
  return "base_model.model.model.layers.0." + std::string(module) + ".lora_" + matrix + ".weight";
}

// A sound adapter of rank 2 on q_proj and v_proj of TinyShapes, to be damaged.
class PeftHostileTest : public ::testing::Test {
 protected:
  PeftHostileTest() {
    EXPECT_TRUE(WritePeftAdapter(dir_.Path("adapter"), TestAdapter(TinyShapes(), 2, 1.0f), "").ok());
    config_ = *ParseJson(*ReadFile(dir_.Path("adapter/adapter_config.json")));
    for (const char* module : {"self_attn.q_proj", "self_attn.v_proj"}) {
      tensors_.push_back({Key(module, 'A'), View(values_.data(), {2, 4})});
      tensors_.push_back({Key(module, 'B'), View(values_.data(), {4, 2})});
    }
  }
  absl::Status Read() { return ReadPeftAdapter(dir_.Path("adapter"), TinyShapes()).status(); }
  // The message of the refusal of the directory as it is.
  std::string Refusal() {
    const absl::Status status = Read();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }
  std::string RefusalOf(std::string_view config_text) {
    dir_.Write("adapter/adapter_config.json", config_text);
    return Refusal();
  }
  // ... of the sound config with one field changed.
  std::string RefusalWith(const char* key, Json value) {
    Json config = config_;
    config[key] = std::move(value);
    const std::string message = RefusalOf(config.dump());
    EXPECT_THAT(message, HasSubstr("adapter_config.json"));
    return message;
  }
  // ... of the sound config with these tensors.
  std::string RefusalOfTensors() {
    EXPECT_TRUE(WriteSafetensors(dir_.Path("adapter/adapter_model.safetensors"), tensors_, {}).ok());
    const std::string message = Refusal();
    EXPECT_THAT(message, HasSubstr("adapter_"));
    return message;
  }

  TempDir dir_;
  Json config_;
  std::vector<float> values_ = std::vector<float>(64, 1.0f);
  std::vector<NamedTensor> tensors_;
};

TEST_F(PeftHostileTest, TheSoundAdapterIsRead) {
  EXPECT_TRUE(Read().ok()) << Read();
}

TEST_F(PeftHostileTest, MissingFilesAreNotFoundByTheirPath) {
  std::filesystem::remove(dir_.Path("adapter/adapter_model.safetensors"));
  EXPECT_EQ(Read().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Read().message()), HasSubstr("adapter_model.safetensors"));
  std::filesystem::remove(dir_.Path("adapter/adapter_config.json"));
  EXPECT_THAT(std::string(Read().message()), HasSubstr("adapter_config.json"));
  EXPECT_EQ(ReadPeftAdapter("/nonexistent", TinyShapes()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PeftHostileTest, RefusesConfigsThatAreNoObject) {
  EXPECT_THAT(RefusalOf("{"), HasSubstr("line 1, column"));
  EXPECT_THAT(RefusalOf("[]"), HasSubstr("an array, want an object"));
  EXPECT_THAT(RefusalOf(""), HasSubstr("adapter_config.json"));
  EXPECT_THAT(RefusalOf("{}"), HasSubstr("peft_type is missing"));
}

TEST_F(PeftHostileTest, RefusesDoraWithoutItsMagnitudes) {
  config_["use_dora"] = true;
  dir_.Write("adapter/adapter_config.json", config_.dump());
  EXPECT_THAT(std::string(Read().message()), HasSubstr("q_proj.lora_magnitude_vector"));
}

// The golden adapter scales the input of down_proj: ia3_l is [1, 160] there and [32, 1] on k_proj.
TEST_F(PeftHostileTest, RefusesFeedforwardModulesThatTheTensorsContradict) {
  const std::string golden = GoldenPath("adapters/ia3/final");
  std::filesystem::copy(golden, dir_.Path("ia3"), std::filesystem::copy_options::recursive);
  Json config = *ParseJson(*ReadFile(golden + "/adapter_config.json"));
  const auto refusal = [&](const Json& feedforward) {
    config["feedforward_modules"] = feedforward;
    dir_.Write("ia3/adapter_config.json", config.dump());
    return std::string(ReadPeftAdapter(dir_.Path("ia3"), GoldenShapes()).status().message());
  };
  EXPECT_EQ(refusal({"down_proj"}), "");
  EXPECT_EQ(refusal(".*down_proj"), "") << "a pattern: the tensors say what it matched";
  EXPECT_THAT(refusal(nullptr), HasSubstr("feedforward_modules do not name model.layers.0.mlp.down_proj"));
  EXPECT_THAT(refusal({"down_proj", "k_proj"}),
              HasSubstr("feedforward_modules name model.layers.0.self_attn.k_proj, whose ia3_l has shape [32, 1]"));
}

TEST_F(PeftHostileTest, RefusesWhatTandemDoesNotDoWithFieldAndValue) {
  EXPECT_THAT(RefusalWith("peft_type", "LOHA"),
              HasSubstr("peft_type is the string 'LOHA', want LORA, IA3 or BOTTLENECK"));
  EXPECT_THAT(RefusalWith("task_type", "SEQ_CLS"), HasSubstr("task_type is the string 'SEQ_CLS', want CAUSAL_LM"));
  EXPECT_THAT(RefusalWith("use_qalora", true), HasSubstr("use_qalora is true, want false"));
  EXPECT_THAT(RefusalWith("bias", "all"), HasSubstr("bias is the string 'all', want none"));
  EXPECT_THAT(RefusalWith("fan_in_fan_out", true), HasSubstr("fan_in_fan_out is true"));
  EXPECT_THAT(RefusalWith("lora_bias", true), HasSubstr("lora_bias is true"));
  EXPECT_THAT(RefusalWith("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save is an array, want none"));
  EXPECT_THAT(RefusalWith("rank_pattern", {{"q_proj", 8}}), HasSubstr("rank_pattern is an object, want none"));
  EXPECT_THAT(RefusalWith("alpha_pattern", {{"q_proj", 8}}), HasSubstr("alpha_pattern is an object, want none"));
  EXPECT_THAT(RefusalWith("layers_to_transform", 0), HasSubstr("layers_to_transform is the number 0, want null"));
  EXPECT_THAT(RefusalWith("exclude_modules", "k_proj"), HasSubstr("exclude_modules is the string 'k_proj'"));
  EXPECT_THAT(RefusalWith("layer_replication", Json::parse("[[0, 1]]")), HasSubstr("layer_replication is an array"));
  EXPECT_THAT(RefusalWith("init_lora_weights", "pissa"), HasSubstr("init_lora_weights is the string 'pissa'"));
  EXPECT_THAT(RefusalWith("use_feature_of_2030", true), HasSubstr("use_feature_of_2030 is true"));
}

TEST_F(PeftHostileTest, RefusesAbsurdRanksAndAlphas) {
  EXPECT_THAT(RefusalWith("r", 0), HasSubstr("r is the number 0, want from 1 to 4096"));
  EXPECT_THAT(RefusalWith("r", -4), HasSubstr("r is the number -4"));
  EXPECT_THAT(RefusalWith("r", INT64_MAX), HasSubstr("want from 1 to 4096"));
  EXPECT_THAT(RefusalWith("r", "2"), HasSubstr("r is the string '2', want an integer"));
  EXPECT_THAT(RefusalWith("r", nullptr), HasSubstr("r is missing"));
  EXPECT_THAT(RefusalWith("lora_alpha", "x"), HasSubstr("lora_alpha is the string 'x', want a number"));
  EXPECT_THAT(RefusalWith("lora_alpha", 1e300), HasSubstr("lora_alpha is the number 1e+300"));
}

TEST_F(PeftHostileTest, RefusesTargetModulesThatAreNone) {
  EXPECT_THAT(RefusalWith("target_modules", nullptr), HasSubstr("target_modules is null, want an array"));
  EXPECT_THAT(RefusalWith("target_modules", Json::array()), HasSubstr("target_modules is an array, want an array of"));
  EXPECT_THAT(RefusalWith("target_modules", {"q_proj", 3}), HasSubstr("target_modules is the number 3"));
  EXPECT_THAT(RefusalWith("target_modules", {"q_proj", ""}), HasSubstr("target_modules is the string ''"));
}

TEST_F(PeftHostileTest, RefusesTargetModulesThatDoNotAgreeWithTheTensors) {
  EXPECT_THAT(RefusalWith("target_modules", {"q_proj"}),
              HasSubstr("has tensors for model.layers.0.self_attn.v_proj, which is no target module"));
  EXPECT_THAT(RefusalWith("target_modules", {"q_proj", "v_proj", "k_proj"}),
              HasSubstr("has no tensors for model.layers.0.self_attn.k_proj, a target module"));
  EXPECT_THAT(RefusalWith("target_modules", {"q_proj", "v_proj", "up_porj"}),
              HasSubstr("'up_porj' is no linear of this model's layers; did you mean 'up_proj'"));
  EXPECT_THAT(RefusalWith("target_modules", {"proj", "q_proj", "v_proj"}),
              HasSubstr("'proj' is no linear of this model's layers"))
      << "an end of a name counts only behind a dot";
}

TEST_F(PeftHostileTest, RefusesTensorsThatAreNoLoraMatrixOfTheModel) {
  tensors_.push_back({"base_model.model.lm_head.lora_A.weight", View(values_.data(), {2, 4})});
  EXPECT_THAT(RefusalOfTensors(),
              HasSubstr("tensor 'base_model.model.lm_head.lora_A.weight' is none of a lora adapter"));
  tensors_.back().name = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
  EXPECT_THAT(RefusalOfTensors(), AllOf(HasSubstr("on this model's 1 layers"), HasSubstr("did you mean")));
  tensors_.back().name = Key("self_attn.q_proj", 'A') + ".lora_magnitude_vector";
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("is none of a lora adapter"));
}

TEST_F(PeftHostileTest, RefusesShapesThatAreNotTheModels) {
  tensors_[0].view.shape = {3, 4};
  EXPECT_THAT(RefusalOfTensors(), AllOf(HasSubstr("q_proj.lora_A"), HasSubstr("shape [3, 4], want [2, 4]")));
  tensors_[0].view.shape = {2, 5};
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("shape [2, 5], want [2, 4]"));
  tensors_[0].view.shape = {8};
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("shape [8], want [2, 4]"));
  tensors_[0].view.shape = {2, 4};
  tensors_[1].view.shape = {2, 4};
  EXPECT_THAT(RefusalOfTensors(), AllOf(HasSubstr("q_proj.lora_B"), HasSubstr("shape [2, 4], want [4, 2]")));
}

TEST_F(PeftHostileTest, RefusesHalfAPair) {
  tensors_.erase(tensors_.begin() + 1);
  EXPECT_TRUE(WriteSafetensors(dir_.Path("adapter/adapter_model.safetensors"), tensors_, {}).ok());
  EXPECT_EQ(Read().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Read().message()), HasSubstr("self_attn.q_proj.lora_B.weight"));
}

TEST_F(PeftHostileTest, RefusesFilesWithoutTensors) {
  tensors_.clear();
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("no tensors, want those of a lora adapter"));
}

TEST_F(PeftHostileTest, RefusesNumbersThatAreNotFinite) {
  std::vector<float> odd(8, 1.0f);
  tensors_[2].view.data = odd.data();
  odd[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(RefusalOfTensors(),
              AllOf(HasSubstr("v_proj.lora_A"), HasSubstr("element 5 is nan, want a finite number")));
  odd[5] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("element 5 is inf"));
}

TEST_F(PeftHostileTest, RefusesIntegerTensors) {
  tensors_[0].view.dtype = DType::kI32;
  EXPECT_THAT(RefusalOfTensors(), HasSubstr("I32, want F32, BF16 or F16"));
}

TEST_F(PeftHostileTest, RefusesBrokenSafetensors) {
  dir_.Write("adapter/adapter_model.safetensors", "not a file of tensors at all");
  EXPECT_THAT(Refusal(), HasSubstr("adapter_model.safetensors: header of"));
}

}  // namespace
}  // namespace tandem
