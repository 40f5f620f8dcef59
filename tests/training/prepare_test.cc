#include "training/prepare.h"

#include "adapter/peft_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/training_fixture.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class PrepareTest : public TrainingFixture {
 protected:
  absl::Status ErrorOf(JobSpec spec) { return PrepareJob(std::move(spec), context()).status(); }

  // A served adapter of rank 3, alpha 6 on v_proj, whose A is not what a fresh one's would be.
  void ServeAdapter(const std::string& name, const std::string& path) {
    AdapterWeights weights(*MakePeftSpec({.rank = 3, .alpha = 6, .target_modules = {"v_proj"}}), desc_.linear_shapes());
    weights.bypasses()[0].a.f32()[0] = 0.75f;
    if (!path.empty()) {
      ASSERT_TRUE(WritePeftAdapter(path, weights, "tiny").ok());
    }
    ASSERT_TRUE(store_.Publish(name, weights, path, "").ok());
  }
};

TEST_F(PrepareTest, AFreshJobStartsFromInitializedWeights) {
  const PreparedJob job = Prepare(Spec());
  EXPECT_EQ(job.weights.rank(), 2);
  EXPECT_EQ(job.weights.alpha(), 4);
  EXPECT_THAT(job.weights.spec().targets, ElementsAre(LinearKind::kQProj, LinearKind::kDownProj));
  EXPECT_NE(job.weights.bypasses()[0].a.f32()[0], 0);
  EXPECT_EQ(job.weights.bypasses()[0].b.f32()[0], 0);
  EXPECT_EQ(job.spec.data, "");
  EXPECT_EQ(job.dataset.samples.size(), 5u);
}

TEST_F(PrepareTest, ItsInfoHoldsTheFigures) {
  JobSpec spec = Spec();
  spec.hyperparameters.epochs = 3;
  spec.hyperparameters.micro_batch = 2;
  spec.hyperparameters.max_length = 10;
  const JobInfo info = InfoOf(Prepare(std::move(spec)));
  EXPECT_EQ(info.adapter_name, "poet");
  EXPECT_EQ(info.num_samples, 5);
  EXPECT_EQ(info.total_steps, 9);
  // Texts of 3, 10, 7, 4 and 11 tokens and two more each; two are cut to 10.
  EXPECT_EQ(info.dataset_tokens, 5 + 10 + 9 + 6 + 10);
  EXPECT_EQ(info.dataset_learned_tokens, info.dataset_tokens - 5);
  EXPECT_EQ(info.num_truncated_samples, 2);
}

TEST_F(PrepareTest, FieldsAndLinesAreChecked) {
  JobSpec spec = Spec();
  spec.hyperparameters.max_length = 101;
  EXPECT_EQ(ErrorOf(std::move(spec)).message(), "hyperparameters.max_length is 101, want 2 to 100");
  spec = Spec();
  spec.data += "{\"text\": 3}\n";
  EXPECT_EQ(ErrorOf(std::move(spec)).message(), "train.jsonl:6:2: text is the number 3, want a string");
}

TEST_F(PrepareTest, DataWithoutANameIsCalledData) {
  JobSpec spec = Spec();
  spec.data_name = "";
  spec.data = "x";
  EXPECT_THAT(std::string(ErrorOf(std::move(spec)).message()), StartsWith("data:1:1: malformed JSON"));
}

TEST_F(PrepareTest, ASampleThatNeverFitsIntoTrainingsBlocksIsRefusedWithTheFigures) {
  JobSpec spec = Spec();
  PrepareContext small = context();
  small.max_blocks = 2;
  const absl::Status status = PrepareJob(std::move(spec), small).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the longest sample has 12 rows and needs 3 KV blocks of 4 tokens, but training may hold 2; lower "
            "hyperparameters.max_length to 8");
}

TEST_F(PrepareTest, AJobThatTakesTooMuchMemoryIsRefusedWithTheFigures) {
  PrepareContext small = context();
  const PreparedJob job = Prepare(Spec());
  const int64_t adapter = AdapterBytes(job.weights.spec(), desc_.linear_shapes());
  const int64_t tapes = TapeBytes(desc_, DType::kF32, job.dataset.max_rows, job.weights.spec());
  // (8 + 8 + 16 + 8) columns of two linears, rank 2, 2 layers, fp32, five copies
  EXPECT_EQ(adapter, 40 * 2 * 2 * 4 * 5);
  small.max_job_bytes = adapter + tapes;
  EXPECT_TRUE(PrepareJob(Spec(), small).ok());
  small.max_job_bytes = adapter + tapes - 1;
  EXPECT_THAT(std::string(PrepareJob(Spec(), small).status().message()), StartsWith("the job takes 1 MiB for"));
  small.max_job_bytes = adapter - 1;
  EXPECT_EQ(PrepareJob(Spec(), small).status().message(),
            "an adapter of rank 2 takes 1 MiB to train, want at most 1 MiB; lower lora.rank");
}

TEST_F(PrepareTest, AJobMayGoOnFromAnAdapterOnDisk) {
  ServeAdapter("base", directory_.path() + "/base");
  JobSpec spec = Spec();
  spec.init_from_adapter = "base";
  spec.peft = {.method = std::nullopt, .rank = 0, .alpha = 0, .target_modules = {}};
  const PreparedJob job = Prepare(std::move(spec));
  EXPECT_EQ(job.weights.rank(), 3);
  EXPECT_EQ(job.weights.alpha(), 6);
  EXPECT_THAT(job.weights.spec().targets, ElementsAre(LinearKind::kVProj));
  EXPECT_EQ(job.weights.bypasses()[0].a.f32()[0], 0.75f);
}

TEST_F(PrepareTest, WhatIsAskedForMustBeWhatTheInitialAdapterHas) {
  ServeAdapter("base", directory_.path() + "/base");
  JobSpec spec = Spec();
  spec.init_from_adapter = "base";
  spec.peft = {.rank = 3, .alpha = 6, .target_modules = {"v_proj"}};
  EXPECT_TRUE(ErrorOf(spec).ok());
  spec.peft.rank = 4;
  EXPECT_EQ(ErrorOf(spec).message(), "lora.rank is 4, but adapter 'base' has 3; leave it unset");
  spec.peft.rank = 3;
  spec.peft.alpha = 7;
  EXPECT_EQ(ErrorOf(spec).message(), "lora.alpha is 7, but adapter 'base' has 6; leave it unset");
  spec.peft.alpha = 6;
  spec.peft.target_modules = {"q_proj", "v_proj"};
  EXPECT_EQ(ErrorOf(spec).message(),
            "lora.target_modules is q_proj, v_proj, but adapter 'base' has v_proj; leave it unset");
}

TEST_F(PrepareTest, AnUnknownInitialAdapterIsRefusedWithTheNearest) {
  ServeAdapter("base", directory_.path() + "/base");
  JobSpec spec = Spec();
  spec.init_from_adapter = "bse";
  const absl::Status status = ErrorOf(std::move(spec));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean 'base'?"));
}

TEST_F(PrepareTest, AnInitialAdapterWithoutFilesIsRefused) {
  ServeAdapter("base", "");
  JobSpec spec = Spec();
  spec.init_from_adapter = "base";
  const absl::Status status = ErrorOf(std::move(spec));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "init_from_adapter: adapter 'base' has no files");
}

TEST_F(PrepareTest, AJobOfOneSampleAStepKeepsOneInFlight) {
  const PreparedJob job = Prepare(Spec());
  Hyperparameters h;
  EXPECT_EQ(SamplesInFlight(h, job.dataset), 1);
  h.gradient_accumulation = 2;
  EXPECT_EQ(SamplesInFlight(h, job.dataset), 2);
  EXPECT_EQ(SamplesInFlight(h, Prepare(Spec("poet", 1)).dataset), 1);
}

}  // namespace
}  // namespace tandem
