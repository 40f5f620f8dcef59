// When the loop runs ahead of the device, and when it must not. That nothing else changes is what engine_test and
// decoding_test say, which run on the same backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "engine/ahead_backend.h"
#include "engine/engine.h"
#include "engine/recording.h"

namespace tandem {
namespace {

class AheadTest : public testing::Test {
 protected:
  AheadTest() {
    auto backend = std::make_unique<AheadBackend>(1);
    backend_ = backend.get();
    engine_ = MakeEngine(std::move(backend));
  }
  ~AheadTest() override {
    engine_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::unique_ptr<Engine> MakeEngine(std::unique_ptr<Backend> backend) const {
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.kv_capacity_tokens = 2048;
    options.adapters_directory = directory_.string();
    auto created = Engine::Create(options, std::move(backend));
    EXPECT_TRUE(created.ok()) << created.status();
    (*created)->Start();
    return *std::move(created);
  }
  static std::vector<JobEvent> Train(Engine& engine) {
    JobSpec spec;
    spec.adapter_name = "ahead";
    spec.data_name = "test.jsonl";
    for (int i = 0; i < 4; ++i) spec.data += absl::StrCat("{\"text\": \"The ", i, ". fox said ahoy.\"}\n");
    spec.hyperparameters.max_steps = 5;
    spec.hyperparameters.gradient_accumulation = 2;
    spec.publish_every_steps = 3;
    const auto job = engine.CreateJob(std::move(spec));
    EXPECT_TRUE(job.ok()) << job.status();
    const auto watcher = std::make_shared<RecordingWatcher>();
    EXPECT_TRUE(engine.WatchJob(job->id, 1, watcher).ok());
    return watcher->Wait();
  }

  GenerateRequest Request(int max_tokens) {
    GenerateRequest request;
    request.request_id = absl::StrCat("r", ++last_request_);
    request.prompt = *engine_->tokenizer().Encode("Once upon a time", SpecialTokens::kAdd);
    request.sampling.temperature = 0;
    request.stop.max_tokens = max_tokens;
    return request;
  }
  std::vector<int32_t> Tokens(GenerateRequest request) {
    const auto sink = std::make_shared<RecordingGeneration>();
    EXPECT_TRUE(engine_->Generate(std::move(request), sink).ok());
    sink->Wait();
    EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
    return sink->tokens;
  }

  const std::filesystem::path directory_ =
      std::filesystem::path(testing::TempDir()) / absl::StrCat("ahead_test.", getpid());
  std::unique_ptr<Engine> engine_;
  AheadBackend* backend_ = nullptr;  // the engine's
  int last_request_ = 0;
};

TEST_F(AheadTest, EveryTokenButTheFirstRunsBeforeItIsKnown) {
  const std::vector<int32_t> tokens = Tokens(Request(20));
  ASSERT_EQ(tokens.size(), 20u);
  EXPECT_EQ(backend_->carried(), 19);
  EXPECT_EQ(backend_->overlaps(), 19);
}

TEST_F(AheadTest, ARequestThatEndsAtAStopTokenCostsOneRowMore) {
  const std::vector<int32_t> tokens = Tokens(Request(20));
  const int before = backend_->carried();
  GenerateRequest request = Request(20);
  request.stop.stop_token_ids = {tokens[4]};
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[4]) - tokens.begin();
  EXPECT_EQ(Tokens(std::move(request)).size(), static_cast<size_t>(first) + 1);
  Tokens(Request(1));  // whatever was in flight is through
  EXPECT_EQ(backend_->carried() - before, static_cast<int>(first) + 1);
}

// Its last numbers come with a step of the device that has nothing else to do.
TEST_F(AheadTest, AJobReportsAndPublishesTheSameThoughItsNumbersComeLater) {
  const std::vector<JobEvent> late = Train(*engine_);
  const std::vector<JobEvent> want = Train(*MakeEngine(CreateCpuBackend(1)));
  EXPECT_EQ(late.back().state, JobState::kSucceeded);
  const auto steps_of = [](const std::vector<JobEvent>& events) {
    std::vector<std::tuple<int, double, double>> steps;
    for (const JobEvent& event : events) {
      if (event.kind == JobEventKind::kStep) steps.emplace_back(event.step, event.loss, event.gradient_norm);
    }
    return steps;
  };
  ASSERT_EQ(steps_of(want).size(), 5u);
  EXPECT_EQ(steps_of(late), steps_of(want));
  EXPECT_EQ(engine_->ListAdapters()[0].generation, 2) << "after steps 3 and 5";
}

TEST_F(AheadTest, PenaltiesAreTakenWithEveryTokenKnown) {
  GenerateRequest request = Request(20);
  request.sampling.repetition_penalty = 1.3f;
  EXPECT_EQ(Tokens(std::move(request)).size(), 20u);
  EXPECT_EQ(backend_->carried(), 0);
  EXPECT_EQ(backend_->overlaps(), 0);
}

}  // namespace
}  // namespace tandem
