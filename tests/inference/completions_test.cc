// n > 1: completions of one prompt share its blocks, and each is what a request of its own would have given.

#include <random>

#include "inference/memory_fixture.h"

namespace tandem {
namespace {

class CompletionsTest : public MemoryTest {
 protected:
  GenerateRequest Several(const std::string& id, int n, int tokens, int max_tokens, int first = 1) {
    GenerateRequest request = Prompt(id, tokens, max_tokens, first);
    request.num_completions = n;
    return request;
  }
  std::vector<int32_t> Alone(GenerateRequest request, int index) {
    request.num_completions = 1;
    request.sampling.seed += index;
    return Cold(std::move(request));
  }
};

TEST_F(CompletionsTest, EachIsTheSingleRequestWithItsSeed) {
  for (const int prompt : {1, 3, 4, 8, 21}) {
    const GenerateRequest request = Several("r", 5, prompt, 9);
    std::vector<std::vector<int32_t>> alone;
    for (int i = 0; i < 5; ++i) alone.push_back(Alone(request, i));
    EXPECT_NE(alone[0], alone[1]);
    for (const bool cache : {true, false}) {
      Restart({.prefix_cache = cache});
      const auto sink = Submit(request);
      RunPlanned();
      ASSERT_EQ(sink->ends, 1);
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(sink->tokens_of[i], alone[i]) << "completion " << i << ", prompt of " << prompt;
        EXPECT_EQ(sink->end_of[i].reason, FinishReason::kLength);
      }
    }
  }
}

TEST_F(CompletionsTest, ThePromptIsComputedOnceButForItsLastBlock) {
  for (const bool cache : {true, false}) {
    Restart({.prefix_cache = cache});
    const int before = model_.written_rows;
    Submit(Several("r", 4, 22, 3));
    RunPlanned();
    // 22 rows and two tokens; three times the two rows behind five full blocks and two tokens.
    EXPECT_EQ(model_.written_rows - before, 22 + 2 + 3 * (2 + 2));
    EXPECT_EQ(source_->counts().prompt_tokens, 22);
  }
}

TEST_F(CompletionsTest, PromptLogprobsComeOnceAndDoNotKeepThemFromSharing) {
  GenerateRequest request = Several("r", 3, 22, 3);
  request.prompt_logprobs = 0;
  const auto sink = Submit(request);
  RunPlanned();
  EXPECT_EQ(sink->prompt_logprobs.size(), 22u);
  EXPECT_EQ(model_.written_rows, 22 + 2 + 2 * (2 + 2));
}

TEST_F(CompletionsTest, TheyHoldThePromptsBlocksTogether) {
  Submit(Several("r", 6, 41, 20));
  for (int i = 0; i < 4; ++i) PlannedStep();
  ASSERT_EQ(source_->counts().running, 6);
  EXPECT_EQ(pool_.used(), 10 + 6);  // ten full blocks once, one more each
}

TEST_F(CompletionsTest, UsageCountsThePromptOnce) {
  const auto sink = Submit(Several("r", 4, 22, 6));
  RunPlanned();
  EXPECT_EQ(sink->end.usage.prompt_tokens, 22);
  EXPECT_EQ(sink->end.usage.completion_tokens, 4 * 6);
  EXPECT_EQ(sink->end.usage.cached_tokens, 0);
}

TEST_F(CompletionsTest, EachEndsForItsOwnReasonAndTheRequestWithTheLast) {
  model_.script = [](const SampleRequest& sample) {
    return sample.index == static_cast<int>(sample.params.seed) - 5 ? int32_t{'!'} : int32_t{'a'};
  };
  GenerateRequest request = Several("r", 4, 6, 3);
  request.stop.stop = {"!"};
  const auto sink = Submit(request);
  RunPlanned();
  ASSERT_EQ(sink->ends, 1);
  EXPECT_EQ(sink->text_of[0], "");
  EXPECT_EQ(sink->text_of[1], "a");
  EXPECT_EQ(sink->text_of[2], "aa");
  EXPECT_EQ(sink->text_of[3], "aaa");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sink->end_of[i].stop_string, "!");
  EXPECT_EQ(sink->end_of[3].reason, FinishReason::kLength);
}

TEST_F(CompletionsTest, OneThatFailsEndsTheRequest) {
  model_.script = [](const SampleRequest& sample) {
    return sample.index == 2 && sample.params.seed == 6 ? kLogitsNotFinite : int32_t{'a'};
  };
  const auto sink = Submit(Several("r", 4, 6, 9));
  RunPlanned();
  EXPECT_EQ(sink->ends, 1);
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sink->end.index, 1);
}

TEST_F(CompletionsTest, TheFirstMayFailBeforeTheOthersHaveBegun) {
  model_.script = [](const SampleRequest&) { return kLogitsNotFinite; };
  const auto sink = Submit(Several("r", 4, 6, 9));
  RunPlanned();
  EXPECT_EQ(sink->ends, 1);
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kInternal);
}

TEST_F(CompletionsTest, AbortEndsAllOfThemAtAnyTime) {
  for (int steps = 0; steps < 8; ++steps) {
    const auto sink = Submit(Several("r", 5, 22, 30));
    for (int i = 0; i < steps; ++i) PlannedStep();
    source_->Abort("r");
    EXPECT_TRUE(source_->idle());
    EXPECT_EQ(pool_.used(), 0);
    EXPECT_EQ(sink->ends, 1);
    EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(CompletionsTest, TheDeadlineEndsAllOfThem) {
  GenerateRequest request = Several("r", 5, 22, 90);
  request.deadline = now_ + absl::Milliseconds(20);
  const auto sink = Submit(request);
  RunPlanned();
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(source_->idle());
}

TEST_F(CompletionsTest, TheAdaptersLeaseIsHeldUntilTheLastHasEnded) {
  model_.script = [](const SampleRequest& sample) {
    return sample.params.seed == 5 ? int32_t{'!'} : int32_t{'a'};  // the first ends at once
  };
  GenerateRequest request = Several("r", 2, 6, 9);
  request.stop.stop = {"!"};
  auto lease = std::make_shared<int>(0);
  const std::weak_ptr<int> held = lease;
  Submit(request, {.id = 1, .generation = 1}, std::move(lease));
  while (!source_->idle()) {
    EXPECT_FALSE(held.expired());
    PlannedStep();
  }
  EXPECT_TRUE(held.expired());
}

TEST_F(CompletionsTest, PreemptedTheyAnswerAsIfTheyHadBeenAlone) {
  std::vector<std::vector<std::vector<int32_t>>> alone(3);
  for (int r = 0; r < 3; ++r) {
    for (int i = 0; i < 4; ++i) alone[r].push_back(Alone(Several("r", 4, 10 + r, 60, 20 * r), i));
  }
  for (const bool cache : {true, false}) {
    Restart({.prefix_cache = cache});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int r = 0; r < 3; ++r) sinks.push_back(Submit(Several(std::to_string(r), 4, 10 + r, 60, 20 * r)));
    RunPlanned();
    EXPECT_GT(source_->counts().preemptions, 0);
    for (int r = 0; r < 3; ++r) {
      for (int i = 0; i < 4; ++i) EXPECT_EQ(sinks[r]->tokens_of[i], alone[r][i]);
    }
  }
}

TEST_F(CompletionsTest, MoreThanMayRunAtOnceTakeTurns) {
  options_.max_running_requests = 3;
  const auto sink = Submit(Several("r", 20, 22, 5));
  RunPlanned();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sink->tokens_of[i].size(), 5u) << i;
}

TEST_F(CompletionsTest, ANumberOutOfRangeIsRefused) {
  for (const int n : {-1, 0, 129}) {
    const auto sink = TrySubmit(Several("r", n, 4, 2));
    EXPECT_EQ(sink.status().message(), absl::StrCat("n is ", n, ", want 1 to 128"));
  }
}

TEST_F(CompletionsTest, RandomAbortsLeaveThePoolFull) {
  for (const uint32_t seed : {1u, 2u}) {
    std::mt19937 random(seed);
    Restart();
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 600; ++i) {
      GenerateRequest request =
          Several(std::to_string(i), 1 + static_cast<int>(random() % 6), 1 + static_cast<int>(random() % 50),
                  1 + static_cast<int>(random() % 30), 30 * static_cast<int>(random() % 3));
      request.priority = static_cast<int>(random() % 3);
      request.tenant = std::string(1, static_cast<char>('a' + random() % 3));
      if (random() % 8 == 0) request.deadline = now_ + absl::Milliseconds(1 + random() % 200);
      if (random() % 3 == 0) request.stop.stop_token_ids = {static_cast<int32_t>(random() % 128)};
      sinks.push_back(Submit(std::move(request)));
      if (random() % 3 == 0) source_->Abort(std::to_string(random() % (i + 1)));
      for (int steps = static_cast<int>(random() % 12); steps > 0; --steps) PlannedStep();
    }
    RunPlanned();
    EXPECT_EQ(pool_.used(), 0);
    EXPECT_GT(source_->counts().preemptions, 0);
    for (const auto& sink : sinks) EXPECT_EQ(sink->ends, 1);
  }
}

}  // namespace
}  // namespace tandem
