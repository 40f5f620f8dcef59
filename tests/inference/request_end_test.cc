// How requests end: length, stop tokens, stop strings, deadlines, cancellation, broken logits; always once, always
// clean.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "inference/inference_test.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kEos = ByteTokenizer::kEos;

class RequestEndTest : public InferenceTest {
 protected:
  RequestEndTest() : InferenceTest({"Hel", "lo\n", "\nUs", "er: I"}) {}
  static constexpr int32_t kHel = ByteTokenizer::kFirstWord, kLo = kHel + 1, kUs = kHel + 2, kEr = kHel + 3;

  std::shared_ptr<RecordingSink> Run(GenerateRequest request) {
    std::shared_ptr<RecordingSink> sink = Submit(std::move(request));
    StepUntilIdle();
    EXPECT_EQ(sink->ends, 1);
    EXPECT_EQ(pool_.used(), 0);
    return sink;
  }
};

// --- length and stop tokens
// ----------------------------------------------------------------------------------------------

TEST_F(RequestEndTest, MaxTokensEndsWithLength) {
  GenerateRequest request = Request("r", 5, "abcdef");
  request.stop.max_tokens = 3;
  const auto sink = Run(request);
  EXPECT_TRUE(sink->end.status.ok());
  EXPECT_EQ(sink->end.reason, FinishReason::kLength);
  EXPECT_EQ(sink->all_text(), "abc");
  EXPECT_EQ(sink->end.usage.prompt_tokens, 5);
  EXPECT_EQ(sink->end.usage.completion_tokens, 3);
}

TEST_F(RequestEndTest, AStopTokenIsCountedAndReturnedButNotItsText) {
  GenerateRequest request = Request("r", 5, {'a', 'b', 'c', 'd'});
  request.stop.stop_token_ids = {kEos, 'c'};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.reason, FinishReason::kStop);
  EXPECT_THAT(sink->token_ids, ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(sink->all_text(), "ab");
  EXPECT_EQ(sink->end.usage.completion_tokens, 3);
}

TEST_F(RequestEndTest, AStopTokenThatIsTheLastAllowedEndsWithStop) {
  GenerateRequest request = Request("r", 5, {'a', kEos});
  request.stop.stop_token_ids = {kEos};
  EXPECT_EQ(Run(request)->end.reason, FinishReason::kStop);
}

TEST_F(RequestEndTest, TheEndSaysWhichTokenStoppedIt) {
  GenerateRequest request = Request("r", 5, {'a', 'b', kEos});
  request.stop.stop_token_ids = {'q', kEos};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.stop_token, kEos);
  EXPECT_EQ(sink->end.stop_string, "");
}

TEST_F(RequestEndTest, TheEndSaysWhichStringStoppedIt) {
  GenerateRequest request = Request("r", 5, "abcdef");
  request.stop.stop = {"xyz", "cd", "d"};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.stop_string, "cd");
  EXPECT_FALSE(sink->end.stop_token.has_value());
}

TEST_F(RequestEndTest, LengthIsStoppedByNothing) {
  const auto sink = Run(Request("r", 5, "abc"));
  EXPECT_EQ(sink->end.stop_string, "");
  EXPECT_FALSE(sink->end.stop_token.has_value());
}

TEST_F(RequestEndTest, WhatStoppedItIsInTheTextWhereAskedFor) {
  GenerateRequest request = Request("string", 5, "abcdef");
  request.stop.stop = {"cd"};
  request.stop.include_stop_in_text = true;
  EXPECT_EQ(Run(request)->all_text(), "abcd");
  request = Request("token", 5, "abc");
  request.stop.stop_token_ids = {'b'};
  request.stop.include_stop_in_text = true;
  EXPECT_EQ(Run(request)->all_text(), "ab");
}

TEST_F(RequestEndTest, StopTokensAreBannedBeforeMinTokensOnly) {
  GenerateRequest request = Request("r", 5, "abcd");
  request.stop.stop_token_ids = {kEos, 'q'};
  request.stop.min_tokens = 2;
  Submit(request);
  std::vector<size_t> banned;
  for (int i = 0; i < 4; ++i) banned.push_back(Step().samples.at(0).banned.size());
  EXPECT_THAT(banned, ElementsAre(2, 2, 0, 0));
}

TEST_F(RequestEndTest, StopStringsAreLookedForBehindMinTokens) {
  GenerateRequest request = Request("r", 5, "xyxyxy");
  request.stop.stop = {"xy"};
  request.stop.min_tokens = 3;  // the second "xy" begins before the border
  const auto sink = Run(request);
  EXPECT_EQ(sink->all_text(), "xyxy");
  EXPECT_EQ(sink->end.stop_string, "xy");
}

TEST_F(RequestEndTest, NoTokenLeftToDrawIsTheRequestsFault) {
  model_.script = [](const SampleRequest&) { return kNoTokenAllowed; };
  const auto sink = Run(Request("r", 5, "abc"));
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(sink->end.status.message()), HasSubstr("no token is left for position 0"));
}

TEST_F(RequestEndTest, SpecialTokensAreTextOnlyWhereAskedFor) {
  GenerateRequest request = Request("r", 5, {'a', kEos, 'b'});
  EXPECT_EQ(Run(request)->all_text(), "ab");
  request.skip_special_tokens = false;
  EXPECT_EQ(Run(request)->all_text(), "a</s>b");
}

TEST_F(RequestEndTest, AnUnfinishedCharacterComesWithTheEnd) {
  const auto sink = Run(Request("r", 5, "a\xE2\x82"));  // two bytes of the three of a euro sign
  EXPECT_EQ(sink->text, "a");
  EXPECT_EQ(sink->end.text, "\uFFFD");
}

// --- stop strings
// ----------------------------------------------------------------------------------------------------------

TEST_F(RequestEndTest, AStopStringAcrossTokensEndsBeforeIt) {
  GenerateRequest request = Request("r", 5, {kHel, kLo, kUs, kEr, 'x', 'y'});
  request.stop.stop = {"\n\nUser:"};
  const auto sink = Run(request);
  EXPECT_TRUE(sink->end.status.ok());
  EXPECT_EQ(sink->end.reason, FinishReason::kStop);
  EXPECT_EQ(sink->all_text(), "Hello");
  EXPECT_THAT(sink->token_ids, ElementsAre(kHel, kLo, kUs, kEr));
}

TEST_F(RequestEndTest, TextIsHeldBackWhileItMayBecomeAStopString) {
  GenerateRequest request = Request("r", 5, {kHel, kLo, kUs, 'x', 'y'});
  request.stop.stop = {"\n\nUser:"};
  const auto sink = Submit(request);
  std::vector<std::string> seen;
  for (int i = 0; i < 4; ++i) {
    Step();
    seen.push_back(sink->text);
  }
  EXPECT_THAT(seen, ElementsAre("Hel", "Hello", "Hello", "Hello\n\nUsx"));
  EXPECT_EQ(sink->updates, 4) << "tokens are reported even where their text is held back";
}

TEST_F(RequestEndTest, HeldBackTextThatWasNoStopStringComesWithTheEnd) {
  GenerateRequest request = Request("r", 5, {kHel, kLo});
  request.stop.stop = {"\n\nUser:"};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.reason, FinishReason::kLength);
  EXPECT_EQ(sink->text, "Hello");
  EXPECT_EQ(sink->end.text, "\n");
}

TEST_F(RequestEndTest, HeldBackTextComesWithAStopToken) {
  GenerateRequest request = Request("r", 5, {kHel, kLo, kEos, 'x'});
  request.stop.stop = {"\n\nUser:"};
  request.stop.stop_token_ids = {kEos};
  EXPECT_EQ(Run(request)->all_text(), "Hello\n");
}

TEST_F(RequestEndTest, AStopStringMayEndWithinACharacterOfSeveralTokens) {
  GenerateRequest request = Request("r", 5, "caf\xC3\xA9 noir");
  request.stop.stop = {"f\xC3\xA9"};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.reason, FinishReason::kStop);
  EXPECT_EQ(sink->all_text(), "ca");
  EXPECT_EQ(sink->token_ids.size(), 5);
}

TEST_F(RequestEndTest, AStopStringInTheLastAllowedTokenEndsWithStop) {
  GenerateRequest request = Request("r", 5, "ab!");
  request.stop.stop = {"!"};
  const auto sink = Run(request);
  EXPECT_EQ(sink->end.reason, FinishReason::kStop);
  EXPECT_EQ(sink->all_text(), "ab");
}

TEST_F(RequestEndTest, AStopStringInThePromptDoesNotCount) {
  GenerateRequest request = Request("r", 3, "!abc");
  request.prompt = {'x', '!', '!'};
  request.stop.stop = {"!!"};
  EXPECT_EQ(Run(request)->all_text(), "!abc");
}

// --- deadlines
// -------------------------------------------------------------------------------------------------------------

TEST_F(RequestEndTest, ADeadlineEndsARunningRequestWithWhatItHas) {
  GenerateRequest request = Request("r", 5, "abcdef");
  request.deadline = now_ + absl::Seconds(10);
  const auto sink = Submit(request);
  Step();
  now_ += absl::Seconds(9);
  Step();
  EXPECT_FALSE(sink->ended());
  now_ += absl::Seconds(1);
  Step();
  ASSERT_TRUE(sink->ended());
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(sink->end.status.message()), HasSubstr("3 generated tokens"));
  EXPECT_EQ(sink->all_text(), "abc");
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_TRUE(source_->idle());
}

TEST_F(RequestEndTest, ADeadlineEndsARequestThatStillWaits) {
  const auto running = Submit(Request("running", 100, "abcdefghij"));
  Step();
  GenerateRequest request = Request("waiting", 30, "abc");
  request.prompt.assign(30, 1);  // shares no block with the other
  request.deadline = now_ + absl::Seconds(1);
  const auto waiting = Submit(request);
  Step();
  EXPECT_FALSE(waiting->ended());
  now_ += absl::Seconds(1);
  Step();
  EXPECT_EQ(waiting->end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(waiting->updates, 0);
  EXPECT_FALSE(running->ended());
}

TEST_F(RequestEndTest, ARequestThatCompletesInItsLastStepIsNotLate) {
  GenerateRequest request = Request("r", 5, "a");
  request.deadline = now_ + absl::Seconds(1);
  const auto sink = Submit(request);
  now_ += absl::Seconds(2);
  Step();
  EXPECT_TRUE(sink->end.status.ok());
}

// --- cancellation
// ------------------------------------------------------------------------------------------------------------

struct Phase {
  std::string name;
  std::vector<int> chunks;  // steps before the cancellation, with this many prefill rows each
  int tokens;               // generated by then
};

class AbortTest : public RequestEndTest, public testing::WithParamInterface<Phase> {};

TEST_P(AbortTest, FreesTheBlocksAtOnceAndLeavesOthersAlone) {
  const auto other = Submit(Request("other", 1, "0123456789"));
  Step();
  const int others_blocks = pool_.used();
  auto lease = std::make_shared<int>(0);
  const auto sink = Submit(Request("r", 10, "abcdef"), {.id = 1, .generation = 4}, lease);
  for (const int chunk : GetParam().chunks) Step(chunk);
  ASSERT_FALSE(sink->ended());

  source_->Abort("r");
  ASSERT_TRUE(sink->ended());
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink->end.reason, FinishReason::kCancelled);
  EXPECT_EQ(sink->end.usage.prompt_tokens, 10);
  EXPECT_EQ(sink->end.usage.completion_tokens, GetParam().tokens);
  EXPECT_EQ(sink->end.adapter_generation, 4);
  EXPECT_EQ(pool_.used(), others_blocks);
  EXPECT_EQ(lease.use_count(), 1);
  EXPECT_EQ(sink.use_count(), 1);
  EXPECT_EQ(source_->counts().waiting, 0);
  EXPECT_EQ(source_->counts().running, 1);

  source_->Abort("r");
  StepUntilIdle();
  EXPECT_EQ(other->all_text(), "0123456789");
}

INSTANTIATE_TEST_SUITE_P(Phases, AbortTest,
                         testing::Values(Phase{"Waiting", {}, 0}, Phase{"FirstChunk", {4}, 0},
                                         Phase{"SecondChunk", {4, 4}, 0}, Phase{"FirstToken", {10}, 1},
                                         Phase{"Decoding", {10, 0, 0}, 3}),
                         [](const testing::TestParamInfo<Phase>& info) { return info.param.name; });

TEST_F(RequestEndTest, AbortingAnUnknownRequestDoesNothing) {
  source_->Abort("nobody");
  const auto sink = Run(Request("r", 3, "ab"));
  source_->Abort("r");
  EXPECT_EQ(sink->ends, 1);
  EXPECT_TRUE(sink->end.status.ok());
}

TEST_F(RequestEndTest, AbortWhileABatchBorrowsTheBlocksIsAProgrammersError) {
  Submit(Request("r", 3, "ab"));
  const Batch batch = Emit();
  EXPECT_DEATH(source_->Abort("r"), "in_step_");
}

TEST_F(RequestEndTest, AbortAllEndsEveryRequestWithItsStatus) {
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(Submit(Request(std::to_string(i), 3, "abc")));
  Step(4);  // one runs, one is within its prompt, one waits
  source_->AbortAll(absl::UnavailableError("shutting down"));
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->ends, 1);
    EXPECT_EQ(sink->end.status, absl::UnavailableError("shutting down"));
  }
  EXPECT_TRUE(source_->idle());
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(RequestEndTest, AbortAllGivesUpAStepThatFailed) {
  const auto sink = Submit(Request("r", 3, "ab"));
  Emit();
  source_->AbortAll(absl::InternalError("the device is gone"));
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Run(Request("next", 3, "ab"))->all_text(), "ab");
}

TEST_F(RequestEndTest, DestructionCancelsWhatIsLeft) {
  auto lease = std::make_shared<int>(0);
  const auto running = Submit(Request("running", 100, "abcdefghij"), {}, lease);
  Step();
  const auto waiting = Submit(Request("waiting", 100, "ab"), {}, lease);
  source_.reset();
  for (const auto& sink : {running, waiting}) {
    EXPECT_EQ(sink->ends, 1);
    EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_EQ(lease.use_count(), 1);
}

TEST_F(RequestEndTest, BlocksAndLeaseAreFreeWhenTheSinkHearsOfTheEnd) {
  auto lease = std::make_shared<int>(0);
  const auto sink = Submit(Request("r", 3, "ab"), {}, lease);
  int used = -1;
  int64_t leases = -1;
  sink->on_end = [&] {
    used = pool_.used();
    leases = lease.use_count();
  };
  StepUntilIdle();
  EXPECT_EQ(used, 0);
  EXPECT_EQ(leases, 1);
}

// --- broken logits
// -----------------------------------------------------------------------------------------------------------

TEST_F(RequestEndTest, LogitsThatAreNotFiniteEndThatRequestOnly) {
  const auto broken = Submit(Request("broken", 3, {'a', -1, 'b'}));
  const auto healthy = Submit(Request("healthy", 3, "xyz"));
  StepUntilIdle();
  EXPECT_EQ(broken->ends, 1);
  EXPECT_EQ(broken->end.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(broken->end.status.message()), HasSubstr("not finite"));
  EXPECT_THAT(broken->token_ids, ElementsAre('a'));
  EXPECT_TRUE(healthy->end.status.ok());
  EXPECT_EQ(healthy->all_text(), "xyz");
  EXPECT_EQ(source_->counts().generated_tokens, 4);
}

}  // namespace
}  // namespace tandem
