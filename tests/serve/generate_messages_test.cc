// What the messages of a Generate stream carry beside tokens: log probabilities, several completions, their usage.
#include "gmock/gmock.h"
#include "serve/generate_fixture.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

TEST_F(GenerateTest, CompletionsComeApartEachWithItsSeedAndItsEnd) {
  v1::GenerateRequest request = TextRequest("hi");
  request.mutable_sampling()->set_n(3);
  request.set_prompt_lookup_tokens(5);
  const auto reader = Start(request);
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  EXPECT_EQ(running.request.num_completions, 3);
  EXPECT_EQ(running.request.max_drafts, 5);
  const char* const texts[] = {"a", "b", "c"};
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 3; ++i) {
      GenerationUpdate update = Update({i + 1}, texts[i], 3 * round + i + 1);
      update.index = i;
      update.usage.drafted_tokens = 9;
      running.sink->OnUpdate(std::move(update));
    }
  }
  running.sink->OnCompletionEnd({.index = 1, .reason = FinishReason::kLength, .text = "!"});
  running.sink->OnCompletionEnd({.index = 0, .reason = FinishReason::kStop, .stop_string = "END"});
  running.sink->OnEnd(
      {.index = 2, .reason = FinishReason::kLength, .usage = {.drafted_tokens = 9, .accepted_tokens = 4}});
  std::string all[3];
  v1::GenerateResponse last[3], response;
  while (reader->Read(&response)) {
    ASSERT_LT(response.index(), 3);
    EXPECT_EQ(last[response.index()].finish_reason(), v1::FINISH_REASON_UNSPECIFIED) << "after its end";
    EXPECT_EQ(response.seed(), 4711u + response.index());
    all[response.index()] += response.text();
    last[response.index()] = response;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(all, ElementsAre("aaaa", "bbbb!", "cccc"));
  EXPECT_EQ(last[0].stop_string(), "END");
  EXPECT_EQ(last[1].finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(last[2].finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(last[2].usage().drafted_tokens(), 9);
  EXPECT_EQ(last[2].usage().accepted_tokens(), 4);
}

TEST_F(GenerateTest, TheUsageOfAllCompletionsNeverGoesBackAndEndsWithTheTotal) {
  constexpr int kRounds = 500, kCompletions = 3;  // so many that completions overtake each other on their way
  v1::GenerateRequest request = TextRequest("hi");
  request.mutable_sampling()->set_n(kCompletions);
  const auto reader = Start(request);
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  int last = 0;
  v1::GenerateResponse response;
  const auto read = [&] {
    if (!reader->Read(&response)) return false;
    EXPECT_GE(response.usage().completion_tokens(), last);
    last = response.usage().completion_tokens();
    return true;
  };
  Usage usage;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kCompletions; ++i) {
      ++usage.completion_tokens;
      running.sink->OnUpdate({.index = i, .token_ids = {1}, .text = "a", .usage = usage});
    }
    ASSERT_TRUE(read());  // of this round at least one message is still unread
  }
  for (int i = 1; i < kCompletions; ++i) running.sink->OnCompletionEnd({.index = i, .usage = usage});
  running.sink->OnEnd({.index = 0, .usage = usage});
  while (read()) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(last, kRounds * kCompletions);
}

TEST_F(GenerateTest, LogprobsCarryTextAndBytes) {
  const auto reader = Start(TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  GenerationUpdate update = Update({'a' + 1}, "a", 1);
  update.prompt_logprobs = {{.token = 'h' + 1}, {.token = 'i' + 1, .logprob = -2}};
  update.logprobs = {{.token = 'a' + 1, .logprob = -1, .top = {{.token = 0xff + 1, .logprob = -0.5f}}}};
  running.sink->OnUpdate(std::move(update));
  running.sink->OnEnd({.status = absl::OkStatus(), .stop_string = "END"});
  v1::GenerateResponse response, last;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_EQ(response.prompt_logprobs_size(), 2);
  EXPECT_FALSE(response.prompt_logprobs(0).token().has_logprob());
  EXPECT_EQ(response.prompt_logprobs(1).token().logprob(), -2);
  ASSERT_EQ(response.logprobs_size(), 1);
  EXPECT_EQ(response.logprobs(0).token().text(), "a");
  EXPECT_EQ(response.logprobs(0).top(0).bytes(), "\xff");
  EXPECT_EQ(response.logprobs(0).top(0).text(), "\uFFFD");
  last = response;
  while (reader->Read(&response)) last = response;
  EXPECT_EQ(last.stop_string(), "END");
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerateTest, ManyPromptLogprobsComeInSeveralMessages) {
  const auto reader = Start(TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  GenerationUpdate update = Update({'a' + 1}, "a", 1);
  update.prompt_logprobs.assign(20000, {.token = 5, .logprob = -1, .top = std::vector<TokenLogprob>(20)});
  running.sink->OnUpdate(std::move(update));
  running.sink->OnEnd({.status = absl::OkStatus()});
  v1::GenerateResponse response;
  int total = 0, tokens = 0;
  while (reader->Read(&response)) {
    EXPECT_LT(response.ByteSizeLong(), 256u << 10);
    if (response.prompt_logprobs_size() > 0) {
      EXPECT_EQ(tokens, 0) << "behind the first token";
    }
    total += response.prompt_logprobs_size();
    tokens += response.token_ids_size();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(total, 20000);
  EXPECT_EQ(tokens, 1);
}

}  // namespace
}  // namespace tandem
