// Co-serving's invariants with the whole engine on CUDA: on the emulated device, and (cuda_device_test) on a real one.
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

}  // namespace
}  // namespace tandem
