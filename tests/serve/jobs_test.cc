// serve/core: what becomes of a job's optional fields, its data, a model's defaults, and the small checks.
#include "serve/core/jobs.h"

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/core/generation_defaults.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kMaxContext = 512;
constexpr size_t kMaxData = 1000;

JobInput SomeJob() {
  JobInput input;
  input.adapter = "support";
  input.data = InlineData{"{\"text\": \"a\"}\n"};
  return input;
}

std::string Refusal(JobInput input) {
  const absl::StatusOr<JobSpec> spec = BuildJobSpec(std::move(input), kMaxContext, kMaxData);
  EXPECT_FALSE(spec.ok());
  return std::string(spec.status().message());
}

std::string WriteTemporary(const std::string& name, const std::string& contents) {
  const std::string path = testing::TempDir() + "/" + name;
  EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
  return path;
}

TEST(BuildJobSpecTest, UnsetFieldsTakeTheDefaults) {
  const auto spec = BuildJobSpec(SomeJob(), kMaxContext, kMaxData);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->adapter_name, "support");
  EXPECT_EQ(spec->data, "{\"text\": \"a\"}\n");
  EXPECT_EQ(spec->data_name, "data");
  EXPECT_EQ(spec->peft.rank, 16);
  EXPECT_EQ(spec->peft.alpha, 32);
  EXPECT_EQ(spec->hyperparameters.epochs, 3);
  EXPECT_EQ(spec->hyperparameters.max_steps, 0);
  EXPECT_EQ(spec->hyperparameters.loss_mask, LossMask::kCompletion);
}

TEST(BuildJobSpecTest, AlphaFollowsTheRank) {
  JobInput input = SomeJob();
  input.peft.rank = 4;
  EXPECT_EQ(BuildJobSpec(input, kMaxContext, kMaxData)->peft.alpha, 8);
}

TEST(BuildJobSpecTest, RankAndAlphaOfAnInitialAdapterAreItsOwn) {
  JobInput input = SomeJob();
  input.init_from_adapter = "base";
  const auto spec = BuildJobSpec(input, kMaxContext, kMaxData);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->peft.rank, 0);
  EXPECT_EQ(spec->peft.alpha, 0);
}

TEST(BuildJobSpecTest, DefaultMaxLengthFitsTheContext) {
  EXPECT_EQ(BuildJobSpec(SomeJob(), kMaxContext, kMaxData)->hyperparameters.max_length, 512);
  EXPECT_EQ(BuildJobSpec(SomeJob(), 4096, kMaxData)->hyperparameters.max_length, 1024);
}

TEST(BuildJobSpecTest, RefusesEpochsBesideMaxSteps) {
  JobInput input = SomeJob();
  input.epochs = 1;
  input.max_steps = 10;
  EXPECT_EQ(Refusal(input), "epochs and max_steps are both set, want one of them");
}

TEST(BuildJobSpecTest, RefusesZerosThatWouldMeanSomethingElse) {
  JobInput steps = SomeJob(), rank = SomeJob(), alpha = SomeJob();
  steps.max_steps = 0;
  rank.peft.rank = 0;
  alpha.peft.alpha = 0;
  EXPECT_EQ(Refusal(steps), "max_steps is 0, want 1 to 2147483647");
  EXPECT_EQ(Refusal(rank), "lora.rank is 0, want 1 to 4096");
  EXPECT_EQ(Refusal(alpha), "lora.alpha is 0, want more than 0");
}

TEST(BuildJobSpecTest, TheMethodIsLoraUnlessSaidOrInherited) {
  JobInput input = SomeJob();
  EXPECT_EQ(BuildJobSpec(input, kMaxContext, kMaxData)->peft.method, PeftMethod::kLora);
  input.init_from_adapter = "base";
  EXPECT_EQ(BuildJobSpec(input, kMaxContext, kMaxData)->peft.method, std::nullopt);
  input.peft.method = PeftMethod::kIa3;
  EXPECT_EQ(BuildJobSpec(input, kMaxContext, kMaxData)->peft.method, PeftMethod::kIa3);
}

TEST(BuildJobSpecTest, RefusesDropoutAndUnknownActivations) {
  JobInput dropout = SomeJob(), activation = SomeJob(), width = SomeJob();
  dropout.peft.dropout = 0.1;
  activation.peft.activation = "swish";
  width.peft.method = PeftMethod::kBottleneck;
  width.peft.rank = 0;
  EXPECT_EQ(Refusal(dropout), "lora.dropout is 0.1, want 0: Tandem trains without dropout");
  EXPECT_EQ(Refusal(activation), "bottleneck.activation is 'swish', want silu, gelu, gelu_tanh or relu");
  EXPECT_EQ(Refusal(width), "bottleneck.width is 0, want 1 to 4096");
  dropout.peft.dropout = 0;
  EXPECT_TRUE(BuildJobSpec(dropout, kMaxContext, kMaxData).ok());
}

TEST(BuildJobSpecTest, RefusesALongIdempotencyKey) {
  JobInput input = SomeJob();
  input.idempotency_key.assign(257, 'k');
  EXPECT_EQ(Refusal(input), "idempotency_key has 257 bytes, want at most 256");
}

TEST(BuildJobSpecTest, ReadsAFileOfThisMachine) {
  JobInput input = SomeJob();
  input.data = DataFile{WriteTemporary("train.jsonl", "{}\n")};
  const auto spec = BuildJobSpec(input, kMaxContext, kMaxData);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->data, "{}\n");
  EXPECT_EQ(spec->data_name, "train.jsonl");
}

TEST(BuildJobSpecTest, RefusesDataItCannotRead) {
  JobInput missing = SomeJob(), absent = SomeJob(), large = SomeJob(), unnamed = SomeJob();
  missing.data = {};
  absent.data = DataFile{"/no/such/file"};
  large.data = DataFile{WriteTemporary("large.jsonl", std::string(kMaxData + 1, ' '))};
  unnamed.data = DataFile{""};
  EXPECT_EQ(Refusal(missing), "data is missing, want jsonl or path");
  EXPECT_THAT(Refusal(absent), HasSubstr("data.path: /no/such/file: cannot open: No such file"));
  EXPECT_THAT(Refusal(large), HasSubstr("1001 bytes, want at most 1000"));
  EXPECT_EQ(Refusal(unnamed), "data.path is empty, want a file on the daemon's machine");
}

// A model directory with these two files; "" leaves one out.
std::string ModelDirectory(const std::string& generation_config, const std::string& config) {
  const std::string directory = testing::TempDir();
  std::remove((directory + "/generation_config.json").c_str());
  std::remove((directory + "/config.json").c_str());
  if (!generation_config.empty()) WriteTemporary("generation_config.json", generation_config);
  if (!config.empty()) WriteTemporary("config.json", config);
  return directory;
}

TEST(GenerationDefaultsTest, ReadsWhatTheModelSays) {
  const auto defaults = LoadGenerationDefaults(ModelDirectory(
      R"({"temperature": 0.7, "top_k": 50, "top_p": 0.9, "max_new_tokens": 64, "eos_token_id": [7, 8]})", ""));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0.7f);
  EXPECT_EQ(defaults->top_k, 50);
  EXPECT_EQ(defaults->top_p, 0.9f);
  EXPECT_EQ(defaults->max_tokens, 64);
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(7, 8));
}

TEST(GenerationDefaultsTest, ReadsBadWords) {
  const auto defaults = LoadGenerationDefaults(ModelDirectory(R"({"bad_words_ids": [[7, 8], [9]]})", ""));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->bad_token_sequences, ElementsAre(ElementsAre(7, 8), ElementsAre(9)));
}

TEST(GenerationDefaultsTest, EndTokensFallBackToConfigJson) {
  const auto defaults = LoadGenerationDefaults(ModelDirectory("", R"({"eos_token_id": 5})"));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(5));
}

TEST(GenerationDefaultsTest, NoSamplingMeansGreedy) {
  EXPECT_EQ(LoadGenerationDefaults(ModelDirectory(R"({"do_sample": false, "temperature": 0.7})", ""))->temperature,
            0.0f);
}

TEST(GenerationDefaultsTest, AModelThatSaysNothingHasTheDocumentedDefaults) {
  const auto defaults = LoadGenerationDefaults(ModelDirectory("", ""));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 1.0f);
  EXPECT_THAT(defaults->eos_token_ids, IsEmpty());
}

TEST(GenerationDefaultsTest, RefusesBadValuesWithFileAndField) {
  const auto message = [](const std::string& generation_config) {
    return std::string(LoadGenerationDefaults(ModelDirectory(generation_config, "")).status().message());
  };
  EXPECT_THAT(message(R"({"temperature": "hot"})"),
              HasSubstr("generation_config.json: temperature is the string 'hot', want a number"));
  EXPECT_THAT(message(R"({"top_p": 3})"), HasSubstr("top_p is 3, want more than 0 and at most 1"));
  EXPECT_THAT(message(R"({"eos_token_id": [1, -1]})"), HasSubstr("eos_token_id is the number -1, want a token id"));
  EXPECT_THAT(message(R"({"bad_words_ids": [[1, "x"]]})"),
              HasSubstr("bad_words_ids is the string 'x', want a token id"));
  EXPECT_THAT(message(R"({"bad_words_ids": [[]]})"), HasSubstr("bad_words_ids has an array, want a list of lists"));
  EXPECT_THAT(message("[]"), HasSubstr("generation_config.json: an array, want an object"));
  EXPECT_THAT(message("{"), HasSubstr("line 1"));
}

TEST(ValidateTest, AdapterNamesAreSafeAsDirectories) {
  EXPECT_TRUE(CheckAdapterName("name", "support-v1.2_x").ok());
  for (const std::string bad : {"", "..", ".hidden", "-rf", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(CheckAdapterName("name", bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckAdapterName("name", std::string(65, 'a')).ok());
  EXPECT_EQ(CheckAdapterName("name", "a/b").message(),
            "name is 'a/b', want 1 to 64 of letters, digits, '.', '_', '-', not starting with '.' or '-'");
}

}  // namespace
}  // namespace tandem
