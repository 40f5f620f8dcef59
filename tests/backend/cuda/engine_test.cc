// Co-serving's invariants with the whole engine on CUDA: on the emulated device, and (cuda_device_test) on a real one.
#include <algorithm>
#include <thread>

#include "backend/cuda/engine_fixture.h"

namespace tandem {
namespace {

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
  std::vector<std::shared_ptr<RecordingGeneration>> sinks;
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

// With an iteration always in flight: requests end at a stop token, are aborted, and take each other's blocks, a job is
// cancelled, and nobody's tokens change.
TEST_F(CudaEngineTest, WhatComesAndGoesInFlightChangesNoTokenAndLeavesNothingBehind) {
  const auto alone = Generate("Once upon a time", 8);
  alone->Wait();
  ASSERT_EQ(alone->tokens.size(), 8u);

  const auto watcher = Train("cancelled", 100000);
  const auto again = Generate("Once upon a time", 8), aborted = Generate("The fox", 60);
  GenerateRequest stops = Request("Once upon a time", 8);
  stops.stop.stop_token_ids = {alone->tokens[3]};
  const auto stopped = Start(std::move(stops));
  aborted->WaitForFirst();
  engine_->Abort(absl::StrCat("r", last_request_ - 1));
  for (const auto& sink : {again, aborted, stopped}) sink->Wait();
  EXPECT_TRUE(engine_->CancelJob(engine_->ListJobs()[0].id).ok());
  EXPECT_EQ(watcher->Wait().back().state, JobState::kCancelled);
  EXPECT_EQ(again->tokens, alone->tokens);
  const auto first = std::find(alone->tokens.begin(), alone->tokens.end(), alone->tokens[3]);
  EXPECT_EQ(stopped->tokens, std::vector<int32_t>(alone->tokens.begin(), first + 1));
  EXPECT_EQ(aborted->end.status.code(), absl::StatusCode::kCancelled);
  Generate("A", 1)->Wait();
  while (engine_->GetStatus().running_requests > 0) std::this_thread::yield();
  EXPECT_EQ(engine_->GetStatus().kv_blocks_used, 0);
}

}  // namespace
}  // namespace tandem
