// The whole engine on the emulated device: co-serving's invariants, and what a device that fails does to it.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "cuda_emulation/emulation.h"
#include "engine/recording.h"
#include "test_backend.h"

namespace tandem {
namespace {

class CudaEngineTest : public testing::Test {
 protected:
  CudaEngineTest() : directory_(std::filesystem::path(testing::TempDir()) / absl::StrCat("cuda_engine.", getpid())) {
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.max_context = 128;
    options.kv_capacity_tokens = 512;
    options.scheduler.max_batch_rows = 64;
    options.training = {.forward_window = 32, .backward_window = 32};
    options.adapters_directory = directory_.string();
    options.on_device_lost = [this] { lost_.Notify(); };
    auto created = Engine::Create(options, MakeTestBackend(1));
    EXPECT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    engine_->Start();
  }
  ~CudaEngineTest() override {
    engine_.reset();
    cuda_emulation::BreakDevice(cudaSuccess);
    std::filesystem::remove_all(directory_);
  }

  std::shared_ptr<RecordingSink> Generate(const std::string& prompt, int max_tokens, const std::string& adapter = "") {
    GenerateRequest request;
    request.request_id = absl::StrCat("r", ++last_request_);
    request.prompt = *engine_->tokenizer().Encode(prompt, SpecialTokens::kAdd);
    request.sampling.temperature = 0;
    request.stop.max_tokens = max_tokens;
    request.adapter = adapter;
    auto sink = std::make_shared<RecordingSink>();
    const absl::Status status = engine_->Generate(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }

  std::shared_ptr<RecordingWatcher> Train(const std::string& name, int steps) {
    JobSpec spec;
    spec.adapter_name = name;
    spec.data_name = "test.jsonl";
    for (int i = 0; i < 2; ++i) {
      spec.data += absl::StrCat("{\"prompt\": \"The ", i, ". word is\", \"completion\": \" ahoy\"}\n");
    }
    spec.lora = {.rank = 4, .alpha = 8, .target_modules = {"q_proj", "down_proj"}};
    spec.hyperparameters.max_steps = steps;
    spec.hyperparameters.gradient_accumulation = 2;
    spec.hyperparameters.learning_rate = 1e-2;
    const auto job = engine_->CreateJob(std::move(spec));
    EXPECT_TRUE(job.ok()) << job.status();
    auto watcher = std::make_shared<RecordingWatcher>();
    EXPECT_TRUE(engine_->WatchJob(job->id, 1, watcher).ok());
    return watcher;
  }

  static std::vector<double> Losses(const std::vector<JobEvent>& events) {
    std::vector<double> losses;
    for (const JobEvent& event : events) {
      if (event.kind == JobEventKind::kStep) losses.push_back(event.loss);
    }
    return losses;
  }

  const std::filesystem::path directory_;
  absl::Notification lost_;
  std::unique_ptr<Engine> engine_;
  int last_request_ = 0;
};

TEST_F(CudaEngineTest, TokensAndLossesAreTheSameTogetherAsApart) {
  const std::vector<std::string> prompts = {"Once upon a time", "A"};
  std::vector<std::vector<int32_t>> tokens;
  for (const std::string& prompt : prompts) {
    const auto sink = Generate(prompt, 6);
    sink->Wait();
    EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
    tokens.push_back(sink->tokens);
  }
  const std::vector<double> losses = Losses(Train("alone", 3)->Wait());
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_LT(losses.back(), losses.front());

  const auto watcher = Train("beside", 3);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const std::string& prompt : prompts) sinks.push_back(Generate(prompt, 6));
  for (size_t i = 0; i < prompts.size(); ++i) {
    sinks[i]->Wait();
    EXPECT_EQ(sinks[i]->tokens, tokens[i]) << prompts[i];
  }
  const std::vector<double> beside = Losses(watcher->Wait());
  ASSERT_EQ(beside.size(), losses.size());
  // Windows are cut elsewhere, so LoRA's gradients are summed in another order.
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(beside[i], losses[i], 1e-4 * losses[i]) << "step " << i + 1;
}

TEST_F(CudaEngineTest, ADeviceThatIsLostEndsEverythingWithItsReasonAndIsReported) {
  const auto watcher = Train("lost", 100000);
  const auto sink = Generate("Once upon a time", 100);
  sink->WaitForFirst();
  cuda_emulation::BreakDevice(cudaErrorIllegalAddress);
  sink->Wait();
  EXPECT_FALSE(sink->end.status.ok());
  const std::vector<JobEvent> events = watcher->Wait();
  EXPECT_EQ(events.back().state, JobState::kFailed);
  lost_.WaitForNotification();
  EXPECT_EQ(engine_->failure().code(), absl::StatusCode::kUnavailable);
  GenerateRequest late;
  late.prompt = {1};
  late.stop.max_tokens = 1;
  EXPECT_EQ(engine_->Generate(std::move(late), std::make_shared<RecordingSink>()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tandem
