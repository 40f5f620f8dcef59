// Requests becoming rows: admission, chunks, decoding, many in one batch.

#include "inference/inference_source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "inference/inference_test.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using InferenceSourceTest = InferenceTest;

TEST_F(InferenceSourceTest, StartsIdleWithNothingToOffer) {
  EXPECT_TRUE(source_->idle());
  EXPECT_TRUE(source_->CollectOffers(now_).spans.empty());
  EXPECT_TRUE(Step().empty());
}

// --- submission
// --------------------------------------------------------------------------------------------------------

TEST_F(InferenceSourceTest, RefusesAnEmptyPrompt) {
  const absl::Status status = TrySubmit(Request("r", 0, "abc")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(source_->idle());
}

TEST_F(InferenceSourceTest, RefusesMaxTokensBelowOne) {
  for (const int max_tokens : {0, -1, std::numeric_limits<int>::min()}) {
    GenerateRequest request = Request("r", 3, "abc");
    request.stop.max_tokens = max_tokens;
    EXPECT_EQ(TrySubmit(request).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(InferenceSourceTest, RefusesWhatTheWholePoolCannotHold) {
  GenerateRequest request = Request("r", 100, "a");
  request.stop.max_tokens = 29;  // 129 tokens, 128 in the pool
  const absl::Status status = TrySubmit(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("prompt of 100 tokens + max_tokens 29, want at most 128"));
  request.stop.max_tokens = std::numeric_limits<int>::max();
  EXPECT_EQ(TrySubmit(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.stop.max_tokens = 28;
  EXPECT_TRUE(TrySubmit(request).ok());
}

TEST_F(InferenceSourceTest, RefusesARequestIdThatIsRunning) {
  Submit(Request("r", 3, "a"));
  EXPECT_EQ(TrySubmit(Request("r", 3, "a")).status().code(), absl::StatusCode::kAlreadyExists);
  StepUntilIdle();
  EXPECT_TRUE(TrySubmit(Request("r", 3, "a")).ok());
}

TEST_F(InferenceSourceTest, RefusesADeadlineThatHasPassed) {
  GenerateRequest request = Request("r", 3, "a");
  request.deadline = now_;
  EXPECT_EQ(TrySubmit(request).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(InferenceSourceTest, RefusesMoreThanMaxWaitingAndDropsTheLease) {
  for (int i = 0; i < 8; ++i) Submit(Request(std::to_string(i), 3, "ab"));
  auto lease = std::make_shared<int>(0);
  const absl::Status status = TrySubmit(Request("one more", 3, "ab"), {}, lease).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("8 requests are waiting, want at most 8"));
  EXPECT_EQ(lease.use_count(), 1);
  Step();  // all eight are admitted
  EXPECT_TRUE(TrySubmit(Request("one more", 3, "ab")).ok());
}

// --- admission
// ---------------------------------------------------------------------------------------------------------

TEST_F(InferenceSourceTest, OffersAWaitingRequestWithTheBlocksOfItsPrompt) {
  now_ += absl::Seconds(5);
  GenerateRequest request = Request("r", 9, "a");
  request.stop.max_tokens = 8;  // 9 tokens: 3 blocks of 4; 17: two more
  Submit(request);
  const Offers offers = source_->CollectOffers(now_ + absl::Seconds(1));
  ASSERT_EQ(offers.spans.size(), 1);
  EXPECT_EQ(offers.spans[0].kind, SpanKind::kPrefill);
  EXPECT_EQ(offers.spans[0].ready_rows, 9);
  EXPECT_EQ(offers.spans[0].first_position, 0);
  EXPECT_EQ(offers.spans[0].blocks_to_reserve, 3);
  EXPECT_EQ(offers.spans[0].blocks_to_end, 2);
  EXPECT_EQ(offers.spans[0].arrival, now_);
  EXPECT_TRUE(offers.backward.empty());
}

TEST_F(InferenceSourceTest, ReservesThePromptAtTheFirstGrantAndABlockWhenItIsFull) {
  Submit(Request("r", 7, "abcdefgh"));
  Step(4);
  EXPECT_EQ(pool_.used(), 2);
  EXPECT_EQ(source_->CollectOffers(now_).spans[0].blocks_to_reserve, 0);
  Step();  // the prompt's end: "a"
  EXPECT_EQ(source_->CollectOffers(now_).spans[0].blocks_to_reserve, 0);
  Step();  // its row is the eighth: "b"
  const Offer offer = source_->CollectOffers(now_).spans[0];
  EXPECT_EQ(offer.kind, SpanKind::kDecode);
  EXPECT_EQ(offer.blocks_to_reserve, 1);
  EXPECT_EQ(offer.blocks_to_end, 1);
  Step();
  EXPECT_EQ(pool_.used(), 3);
}

TEST_F(InferenceSourceTest, WhatIsNotGrantedKeepsWaiting) {
  Submit(Request("r", 9, "abcd"));
  Batch batch;
  source_->Emit({}, batch);
  source_->Commit(batch, {}, now_);
  EXPECT_EQ(source_->counts().waiting, 1);
  EXPECT_EQ(source_->CollectOffers(now_).spans[0].blocks_to_reserve, 3);
}

TEST_F(InferenceSourceTest, AGrantWithoutFreeBlocksIsAProgrammersError) {
  Submit(Request("r", 9, "abcd"));
  const SequenceId sequence = source_->CollectOffers(now_).spans[0].sequence;
  const BlockTable others = *pool_.Allocate(kNumBlocks - 2);
  Batch batch;
  EXPECT_DEATH(source_->Emit({.spans = {{sequence, 1}}}, batch), "granted more than is free");
}

TEST_F(InferenceSourceTest, SequenceIdsDifferBetweenSourcesThatShareTheCounter) {
  InferenceSource other(&pool_, &tokenizer_, &ids_, {});
  Submit(Request("r", 3, "ab"));
  ASSERT_TRUE(other.Submit(Request("r", 3, "ab"), {}, nullptr, std::make_shared<RecordingSink>(), now_).ok());
  EXPECT_NE(source_->CollectOffers(now_).spans[0].sequence, other.CollectOffers(now_).spans[0].sequence);
}

// --- rows
// --------------------------------------------------------------------------------------------------------------

TEST_F(InferenceSourceTest, ThePromptGoesInChunksAndOnlyItsEndIsSampled) {
  GenerateRequest request = Request("r", 10, "ab");
  request.prompt = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  Submit(request);

  const Batch first = Step(4);
  ASSERT_EQ(first.spans.size(), 1);
  EXPECT_EQ(first.spans[0].kind, SpanKind::kPrefill);
  EXPECT_EQ(first.spans[0].first_position, 0);
  EXPECT_THAT(first.token_ids, ElementsAre(10, 11, 12, 13));
  EXPECT_TRUE(first.samples.empty());

  const Batch second = Step(4);
  EXPECT_EQ(second.spans[0].first_position, 4);
  EXPECT_THAT(second.token_ids, ElementsAre(14, 15, 16, 17));
  EXPECT_TRUE(second.samples.empty());

  const Batch third = Step(4);
  EXPECT_EQ(third.spans[0].kind, SpanKind::kPrefill);
  EXPECT_EQ(third.spans[0].first_position, 8);
  EXPECT_THAT(third.token_ids, ElementsAre(18, 19));
  ASSERT_EQ(third.samples.size(), 1);
  EXPECT_EQ(third.samples[0].sequence, third.spans[0].sequence);
  EXPECT_EQ(third.samples[0].row, 1);
  EXPECT_EQ(third.samples[0].index, 0);
}

TEST_F(InferenceSourceTest, ADecodeFeedsTheTokenThatWasSampledLast) {
  Submit(Request("r", 3, {71, 72, 73}));
  Step();
  const Batch batch = Step();
  ASSERT_EQ(batch.spans.size(), 1);
  EXPECT_EQ(batch.spans[0].kind, SpanKind::kDecode);
  EXPECT_EQ(batch.spans[0].first_position, 3);
  EXPECT_THAT(batch.token_ids, ElementsAre(71));
  ASSERT_EQ(batch.samples.size(), 1);
  EXPECT_EQ(batch.samples[0].index, 1);
}

TEST_F(InferenceSourceTest, EveryTokenIsSampledWithTheRequestsParameters) {
  GenerateRequest request = Request("r", 3, "ab");
  request.sampling.temperature = 0.25f;
  request.sampling.top_k = 7;
  request.sampling.top_p = 0.5f;
  Submit(request);
  for (int step = 0; step < 2; ++step) {
    const SamplingParams params = Step().samples.at(0).params;
    EXPECT_EQ(params.temperature, 0.25f);
    EXPECT_EQ(params.top_k, 7);
    EXPECT_EQ(params.top_p, 0.5f);
    EXPECT_EQ(params.seed, request.sampling.seed);
  }
}

TEST_F(InferenceSourceTest, TokensStreamOncePerStep) {
  const auto sink = Submit(Request("r", 3, "abc"));
  EXPECT_EQ(sink->updates, 0);
  Step();
  EXPECT_EQ(sink->updates, 1);
  EXPECT_EQ(sink->text, "a");
  Step();
  EXPECT_EQ(sink->updates, 2);
  EXPECT_EQ(sink->text, "ab");
  EXPECT_FALSE(sink->ended());
}

TEST_F(InferenceSourceTest, ChunksOfAnySizeGiveTheSameAnswer) {
  // The next token is a function of everything before it, so a row lost, doubled or misplaced changes the answer.
  model_.script = [this](const SampleRequest& sample) {
    uint32_t hash = 17;
    for (const int32_t token : model_.context(sample.sequence)) hash = hash * 31 + token;
    return static_cast<int32_t>(hash >> 8) & 127;
  };
  std::vector<std::vector<int32_t>> answers;
  for (const int chunk : {1, 2, 3, 7, 1000}) {
    GenerateRequest request = Request("r", 0, "0123456789");
    for (int i = 0; i < 23; ++i) request.prompt.push_back(i);
    const auto sink = Submit(request);
    while (!sink->ended()) Step(chunk);
    answers.push_back(sink->token_ids);
  }
  ASSERT_EQ(answers[0].size(), 10);
  for (const std::vector<int32_t>& answer : answers) EXPECT_EQ(answer, answers[0]);
}

TEST_F(InferenceSourceTest, EverySampleKnowsWhatStandsBeforeIt) {
  GenerateRequest request = Request("r", 0, "ab");
  request.prompt = {7, 8, 9};
  Submit(request);
  std::vector<std::vector<int32_t>> histories;
  for (int step = 0; step < 2; ++step) {
    const Batch batch = Emit();
    const SampleRequest& sample = batch.samples.at(0);
    histories.emplace_back(sample.history.begin(), sample.history.end());
    EXPECT_EQ(sample.num_prompt_tokens, 3);
    source_->Commit(batch, model_.Run(batch), now_);
  }
  EXPECT_THAT(histories, ElementsAre(ElementsAre(7, 8, 9), ElementsAre(7, 8, 9, 'a')));
}

TEST_F(InferenceSourceTest, PromptLogprobsAreOfEveryTokenButTheFirstWhateverTheChunks) {
  for (const int chunk : {1, 2, 3, 100}) {
    GenerateRequest request = Request("r", 0, "ab");
    request.prompt = {10, 11, 12, 13, 14, 15, 16};
    request.prompt_logprobs = 0;
    EXPECT_TRUE(request.needs_all_prompt_rows());
    const auto sink = Submit(request);
    while (!sink->ended()) Step(chunk);
    ASSERT_EQ(sink->prompt_logprobs.size(), 7u);
    EXPECT_TRUE(std::isnan(sink->prompt_logprobs[0].logprob));
    for (int i = 0; i < 7; ++i) EXPECT_EQ(sink->prompt_logprobs[i].token, 10 + i);
    for (int i = 1; i < 7; ++i) EXPECT_EQ(sink->prompt_logprobs[i].logprob, -(10.0f + i - 1)) << "of the row before";
  }
}

TEST_F(InferenceSourceTest, APromptOfOneTokenHasNoLogprobButSaysSo) {
  GenerateRequest request = Request("r", 1, "ab");
  request.prompt_logprobs = 3;
  const auto sink = Submit(request);
  StepUntilIdle();
  ASSERT_EQ(sink->prompt_logprobs.size(), 1u);
  EXPECT_TRUE(std::isnan(sink->prompt_logprobs[0].logprob));
}

TEST_F(InferenceSourceTest, LogprobsComeWithTheirTokensWhereAskedFor) {
  GenerateRequest request = Request("asks", 2, "ab");
  request.sampling.num_logprobs = 0;
  const auto asks = Submit(request), does_not = Submit(Request("does not", 2, "ab"));
  StepUntilIdle();
  ASSERT_EQ(asks->logprobs.size(), 2u);
  EXPECT_EQ(asks->logprobs[1].token, 'b');
  EXPECT_TRUE(does_not->logprobs.empty());
}

// --- many at once
// --------------------------------------------------------------------------------------------------------

TEST_F(InferenceSourceTest, ANewRequestJoinsTheBatchOfARunningOne) {
  const auto first = Submit(Request("first", 3, "abc"));
  Step();
  const auto second = Submit(Request("second", 5, "xyz"));
  const Batch batch = Step();
  ASSERT_EQ(batch.spans.size(), 2);
  EXPECT_EQ(batch.spans[0].kind, SpanKind::kDecode);
  EXPECT_EQ(batch.spans[1].kind, SpanKind::kPrefill);
  EXPECT_EQ(batch.num_rows(), 6);
  EXPECT_EQ(batch.samples[1].row, 5);
  StepUntilIdle();
  EXPECT_EQ(first->all_text(), "abc");
  EXPECT_EQ(second->all_text(), "xyz");
}

TEST_F(InferenceSourceTest, AdaptersAndTheBaseModelShareABatch) {
  const AdapterRef a{.id = 3, .generation = 2}, b{.id = 4, .generation = 7};
  const auto base_sink = Submit(Request("base", 2, "ab"));
  const auto a_sink = Submit(Request("a", 2, "ab"), a);
  const auto b_sink = Submit(Request("b", 2, "ab"), b);
  for (int step = 0; step < 2; ++step) {
    const Batch batch = Step();
    ASSERT_EQ(batch.spans.size(), 3);
    EXPECT_TRUE(batch.spans[0].adapter.is_base());
    EXPECT_EQ(batch.spans[1].adapter, a);
    EXPECT_EQ(batch.spans[2].adapter, b);
  }
  EXPECT_EQ(base_sink->end.adapter_generation, 0);
  EXPECT_EQ(a_sink->end.adapter_generation, 2);
  EXPECT_EQ(b_sink->end.adapter_generation, 7);
}

TEST_F(InferenceSourceTest, SpansAndSamplesOfOtherSourcesArePassedOver) {
  const auto sink = Submit(Request("r", 2, "ab"));
  const SequenceId foreign = ids_.Next();
  Batch batch;
  batch.spans.push_back({.sequence = foreign, .kind = SpanKind::kTrainForward, .first_row = 0, .num_rows = 2});
  batch.token_ids = {5, 6};
  batch.labels = {6, 7};
  batch.samples.push_back({.sequence = foreign, .row = 1});
  source_->Emit(GrantAll(1000), batch);
  EXPECT_EQ(batch.spans[1].first_row, 2);
  EXPECT_EQ(batch.samples[1].row, 3);
  EXPECT_THAT(batch.labels, ElementsAre(6, 7, kIgnoredLabel, kIgnoredLabel));
  source_->Commit(batch, {.sampled = {'x', 'a'}, .losses = {1.5, 0}}, now_);
  EXPECT_EQ(sink->text, "a");
  EXPECT_EQ(source_->counts().prompt_tokens, 2);
  EXPECT_EQ(source_->counts().generated_tokens, 1);
}

TEST_F(InferenceSourceTest, CountsFollowTheRequests) {
  Submit(Request("one", 100, "abcdefghij"));
  GenerateRequest two = Request("two", 30, "ab");  // does not fit beside the first
  two.prompt.assign(30, 1);
  Submit(two);
  EXPECT_EQ(source_->counts().waiting, 2);
  Step(60);
  EXPECT_EQ(source_->counts().running, 1);
  EXPECT_EQ(source_->counts().waiting, 1);
  EXPECT_EQ(source_->counts().prompt_tokens, 60);
  EXPECT_EQ(source_->counts().generated_tokens, 0);
  Step(60);
  EXPECT_EQ(source_->counts().prompt_tokens, 100);
  EXPECT_EQ(source_->counts().generated_tokens, 1);
  StepUntilIdle();
  EXPECT_EQ(source_->counts().running, 0);
  EXPECT_EQ(source_->counts().waiting, 0);
  EXPECT_EQ(source_->counts().prompt_tokens, 130);
  EXPECT_EQ(source_->counts().generated_tokens, 12);
}

}  // namespace
}  // namespace tandem
