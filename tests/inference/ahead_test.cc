// Inference where a batch is launched before the one before it is committed: the same tokens, and nothing left behind
// by rows that ran for nothing.
#include <functional>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "inference/memory_fixture.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AheadTest : public InferenceTest {
 protected:
  Offers Offered() const { return source_->CollectOffers(now_); }
};

TEST_F(AheadTest, TheRowOfATokenInFlightRunsBehindIt) {
  const auto sink = Submit(Request("r", 3, "abc"));
  StepAhead();
  ASSERT_EQ(Offered().spans.size(), 1u);
  EXPECT_EQ(Offered().spans[0].kind, SpanKind::kDecode);
  EXPECT_EQ(Offered().spans[0].ready_rows, 1);
  EXPECT_EQ(Offered().spans[0].first_position, 3);
  const Batch batch = Emit();
  EXPECT_THAT(batch.token_ids, ElementsAre(~0)) << "the first sample of the batch before";
  EXPECT_EQ(batch.samples[0].index, 1);
  EXPECT_EQ(sink->updates, 0);
  LaunchAhead(batch);
  EXPECT_EQ(sink->text, "a");
  StepAhead();
  StepAhead();
  EXPECT_EQ(sink->all_text(), "abc");
  EXPECT_EQ(carried_, 2);
}

TEST_F(AheadTest, ChunksOfAPromptFollowEachOther) {
  const auto sink = Submit(Request("r", 10, "ab"));
  for (int i = 0; i < 3; ++i) StepAhead(4);
  EXPECT_EQ(source_->counts().prompt_tokens, 8) << "the third chunk is in flight";
  StepAhead();
  StepAhead();
  EXPECT_EQ(sink->all_text(), "ab");
}

TEST_F(AheadTest, NothingFollowsATokenThatIsTheLastOne) {
  const auto sink = Submit(Request("r", 3, "a"));
  StepAhead();
  EXPECT_THAT(Offered().spans, IsEmpty());
  StepAhead();
  EXPECT_EQ(sink->end.reason, FinishReason::kLength);
  EXPECT_EQ(model_.written_rows, 3);
}

TEST_F(AheadTest, ASequenceThatHasEndedCostsOneRowAndHoldsNothing) {
  GenerateRequest request = Request("r", 3, "abcd");
  request.stop.stop_token_ids = {'b'};
  const auto sink = Submit(std::move(request));
  for (int i = 0; i < 4; ++i) StepAhead();
  EXPECT_EQ(sink->end.stop_token, 'b');
  EXPECT_EQ(sink->all_text(), "a");
  EXPECT_EQ(model_.written_rows, 3 + 1 + 1);
  EXPECT_EQ(pool_.used(), 0);
  CommitInFlight();
  EXPECT_EQ(sink->ends, 1);
}

TEST_F(AheadTest, WhatIsAbortedInFlightIsGoneAtOnce) {
  const auto sink = Submit(Request("r", 6, "abcd"));
  StepAhead();
  StepAhead();
  source_->Abort("r");
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kCancelled);
  const auto next = Submit(Request("r", 6, "xy"));
  for (int i = 0; i < 4; ++i) StepAhead();
  EXPECT_EQ(next->all_text(), "xy");
  EXPECT_EQ(sink->ends, 1);
}

TEST_F(AheadTest, AnErrorEndsTheSequencesOfItsBatch) {
  const auto lost = Submit(Request("lost", 3, "abcd"));
  StepAhead();
  in_flight_->result.status = absl::InternalError("broken");
  const auto other = Submit(Request("other", 3, "ab"));
  for (int i = 0; i < 4; ++i) StepAhead();
  EXPECT_EQ(lost->end.status, absl::InternalError("broken"));
  EXPECT_EQ(other->all_text(), "ab");
  EXPECT_EQ(pool_.used(), 0);
}

struct Waits {
  const char* name;
  std::function<void(GenerateRequest&)> ask;
};

class WaitingAheadTest : public AheadTest, public testing::WithParamInterface<Waits> {};

TEST_P(WaitingAheadTest, WhatNeedsTheLastTokenWaitsForIt) {
  EXPECT_TRUE(source_->can_run_ahead());
  GenerateRequest request = Request("r", 6, "abcab");
  GetParam().ask(request);
  const auto sink = Submit(std::move(request));
  EXPECT_TRUE(source_->can_run_ahead());
  StepAhead();
  EXPECT_FALSE(source_->can_run_ahead());
  CommitInFlight();
  EXPECT_TRUE(source_->can_run_ahead());
  while (!sink->ends) StepAhead();
  EXPECT_EQ(sink->all_text(), "abcab");
}

std::shared_ptr<const TokenRules> BadWords() {
  auto rules = std::make_shared<TokenRules>();
  rules->bad_words = {{'x', 'y'}};
  return rules;
}

INSTANTIATE_TEST_SUITE_P(Reasons, WaitingAheadTest,
                         testing::Values(Waits{"Penalties",
                                               [](GenerateRequest& r) { r.sampling.presence_penalty = 1; }},
                                         Waits{"BadWords", [](GenerateRequest& r) { r.sampling.rules = BadWords(); }},
                                         Waits{"PromptLookup", [](GenerateRequest& r) { r.max_drafts = 3; }},
                                         Waits{"PromptLogprobs", [](GenerateRequest& r) { r.prompt_logprobs = 0; }}),
                         [](const testing::TestParamInfo<Waits>& info) { return info.param.name; });

class AheadMemoryTest : public MemoryTest {};

TEST_F(AheadMemoryTest, WhatIsPreemptedInFlightKeepsTheTokenThatIsStillToCome) {
  const std::vector<int32_t> cold = Cold(Prompt("cold", 6, 8));
  const auto sink = Submit(Prompt("r", 6, 8));
  PlannedStepAhead();
  PlannedStepAhead();
  ASSERT_EQ(sink->token_ids.size(), 1u);
  const SequenceId id = in_flight_->batch.spans[0].sequence;
  Batch batch;
  source_->Emit({.preempted = {id}}, batch);
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_THAT(source_->CollectOffers(now_).spans, IsEmpty()) << "before its token is there";
  LaunchAhead(std::move(batch));
  EXPECT_EQ(sink->token_ids.size(), 2u);
  while (!sink->ends) PlannedStepAhead();
  EXPECT_EQ(sink->token_ids, cold);
}

TEST_F(AheadMemoryTest, TokensAreTheSameOnAPoolThatIsTooSmall) {
  std::vector<GenerateRequest> requests;
  std::vector<std::vector<int32_t>> cold;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(Prompt(std::to_string(i), 5 + 3 * i % 17, 10 + 7 * i % 40, i % 3));
    requests.back().sampling.seed = static_cast<uint64_t>(i % 4);
    if (i % 5 == 4) requests.back().sampling.frequency_penalty = 0.5f;
    cold.push_back(Cold(requests.back()));
  }
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const GenerateRequest& request : requests) sinks.push_back(Submit(request));
  for (int steps = 0; !source_->idle() || in_flight_.has_value(); ++steps) {
    ASSERT_LT(steps, 5000);
    PlannedStepAhead();
  }
  for (size_t i = 0; i < sinks.size(); ++i) EXPECT_EQ(sinks[i]->token_ids, cold[i]) << i;
  EXPECT_GT(source_->counts().preemptions, 0);
  EXPECT_GT(carried_, 0);
}

}  // namespace
}  // namespace tandem
