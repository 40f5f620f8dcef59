// Speculative decoding by prompt lookup: the tokens are those that come without it.

#include <random>

#include "inference/memory_fixture.h"
#include "inference/prompt_lookup.h"

namespace tandem {
namespace {

using Tokens = std::vector<int32_t>;

constexpr SpeculationOptions kLookup{.max_tokens = 8, .min_ngram = 2, .max_ngram = 4};

TEST(LookUp, TheLongestTailThatOccurredBeforeDecides) {
  const Tokens tokens = {1, 2, 3, 40, 9, 2, 3, 50, 1, 2, 3};
  EXPECT_EQ(LookUp(kLookup, tokens, 2), (Tokens{40, 9}));  // "1 2 3", not the later "2 3"
}

TEST(LookUp, OfEqualOnesTheLatestDecides) {
  EXPECT_EQ(LookUp(kLookup, Tokens{1, 2, 7, 1, 2, 8, 1, 2}, 1), (Tokens{8}));
}

TEST(LookUp, ATailShorterThanTheLeastNgramSaysNothing) {
  EXPECT_EQ(LookUp(kLookup, Tokens{1, 5, 2, 5}, 4), Tokens{});
  EXPECT_EQ(LookUp({.max_tokens = 8, .min_ngram = 1, .max_ngram = 1}, Tokens{1, 5, 2, 5}, 1), Tokens{2});
}

TEST(LookUp, WhatRepeatsGoesOnRepeating) {
  EXPECT_EQ(LookUp(kLookup, Tokens{1, 2, 3, 1, 2, 3, 1, 2}, 7), (Tokens{3, 1, 2, 3, 1, 2, 3}));
}

TEST(LookUp, TooFewTokensGiveNothing) {
  for (const Tokens& tokens : {Tokens{}, Tokens{1}, Tokens{1, 1}}) EXPECT_EQ(LookUp(kLookup, tokens, 4), Tokens{});
}

TEST(Drafter, KnowsHowGoodItsGuessesAreThoughNobodyLooksAtThem) {
  Drafter drafter(kLookup);
  Tokens tokens;
  for (int i = 0; i < 60; ++i) {
    drafter.Guess(tokens, 8);
    tokens.push_back(i % 3);
    drafter.Observe(tokens.back());
  }
  EXPECT_GT(drafter.acceptance(), 0.9);
  for (int i = 0; i < 60; ++i) {
    drafter.Guess(tokens, 8);
    tokens.push_back(i % 3 == 2 ? 100 + i : i % 3);  // "0 1" is followed by something new each time
    drafter.Observe(tokens.back());
  }
  EXPECT_LT(drafter.acceptance(), 0.1);
}

// A model whose text repeats itself now and then.
class SpeculationTest : public MemoryTest {
 protected:
  SpeculationTest() {
    model_.script = [this](const SampleRequest& sample) {
      const Tokens& context = model_.context(sample.sequence);
      uint32_t hash = static_cast<uint32_t>(sample.params.seed);
      for (const int32_t token : context) hash = hash * 31 + token;
      const int size = static_cast<int>(context.size());
      const bool repeats = size > 12 && size / 16 % 2 == 0;
      return repeats && hash % 8 != 0 ? context[size - 5] : static_cast<int32_t>(hash >> 8) % 16;
    };
  }
  InferenceOptions Speculating() { return {.max_waiting = 4000, .speculation = kLookup}; }
};

TEST_F(SpeculationTest, TokensAndUsageAreThoseThatComeWithoutIt) {
  int accepted = 0;
  for (int seed = 0; seed < 20; ++seed) {
    GenerateRequest request = Prompt("r", 7 + seed, 80 - seed);
    request.sampling.seed = seed;
    const Tokens plain = Cold(request);
    Restart(Speculating());
    const auto sink = Submit(request);
    RunPlanned();
    EXPECT_EQ(sink->token_ids, plain);
    EXPECT_EQ(sink->end.reason, FinishReason::kLength);
    EXPECT_EQ(sink->end.usage.drafted_tokens, source_->counts().drafted_tokens);
    EXPECT_EQ(sink->end.usage.accepted_tokens, source_->counts().accepted_tokens);
    EXPECT_LE(sink->end.usage.accepted_tokens, sink->end.usage.drafted_tokens);
    accepted += sink->end.usage.accepted_tokens;
  }
  EXPECT_GT(accepted, 100);
}

TEST_F(SpeculationTest, ItTakesFewerSteps) {
  model_.script = [](const SampleRequest& sample) { return 'a' + sample.index % 3; };
  Restart(Speculating());
  const auto sink = Submit(Prompt("r", 4, 90));
  int steps = 0;
  for (; !sink->ended(); ++steps) PlannedStep();
  EXPECT_LT(steps, 30);
  EXPECT_GT(sink->end.usage.accepted_tokens, 60);
}

TEST_F(SpeculationTest, ARequestMayAskForItOrNotWhateverTheDaemonDoes) {
  model_.script = [](const SampleRequest& sample) { return 'a' + sample.index % 3; };
  for (const bool configured : {true, false}) {
    Restart(configured ? Speculating() : InferenceOptions{});
    for (const int drafts : {0, 4}) {
      GenerateRequest request = Prompt("r", 4, 60);
      request.max_drafts = drafts;
      const auto sink = Submit(request);
      RunPlanned();
      EXPECT_EQ(sink->end.usage.accepted_tokens > 0, drafts > 0);
    }
  }
}

TEST_F(SpeculationTest, StopsAndLogprobsEndWhereTheyDoWithoutIt) {
  model_.script = [](const SampleRequest& sample) {
    return sample.index == 50 ? int32_t{'!'} : 'a' + sample.index % 3;
  };
  for (const bool token : {true, false}) {
    GenerateRequest request = Prompt("r", 4, 90);
    request.sampling.num_logprobs = 0;
    if (token) request.stop.stop_token_ids = {'!'};
    if (!token) request.stop.stop = {"ab!"};
    Restart();
    const auto plain = Submit(request);
    RunPlanned();
    Restart(Speculating());
    const auto sink = Submit(request);
    RunPlanned();
    EXPECT_GT(sink->end.usage.accepted_tokens, 20);
    EXPECT_EQ(sink->token_ids, plain->token_ids);
    EXPECT_EQ(sink->all_text(), plain->all_text());
    EXPECT_EQ(sink->logprobs.size(), plain->logprobs.size());
    EXPECT_EQ(sink->end.reason, FinishReason::kStop);
    EXPECT_EQ(sink->end.stop_string, plain->end.stop_string);
  }
}

TEST_F(SpeculationTest, PreemptedRequestsAnswerAsWithoutIt) {
  std::vector<Tokens> plain;
  for (int i = 0; i < 6; ++i) plain.push_back(Cold(Prompt(std::to_string(i), 9 + i, 60, 20 * i)));
  for (const bool cache : {true, false}) {
    InferenceOptions options = Speculating();
    options.prefix_cache = cache;
    Restart(options);
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 6; ++i) sinks.push_back(Submit(Prompt(std::to_string(i), 9 + i, 60, 20 * i)));
    RunPlanned();
    EXPECT_GT(source_->counts().preemptions, 0);
    EXPECT_GT(source_->counts().accepted_tokens, 0);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(sinks[i]->token_ids, plain[i]) << i;
  }
}

TEST_F(SpeculationTest, CompletionsOfOnePromptSpeculateEachForItself) {
  GenerateRequest request = Prompt("r", 20, 60);
  std::vector<Tokens> plain;
  for (int i = 0; i < 3; ++i) {
    GenerateRequest one = request;
    one.sampling.seed += i;
    plain.push_back(Cold(one));
  }
  Restart(Speculating());
  request.num_completions = 3;
  const auto sink = Submit(request);
  RunPlanned();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sink->tokens_of[i], plain[i]);
  EXPECT_EQ(sink->end.usage.accepted_tokens, source_->counts().accepted_tokens);
}

TEST_F(SpeculationTest, RandomRequestsAndAbortsLeaveThePoolFull) {
  std::mt19937 random(3);
  Restart(Speculating());
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 600; ++i) {
    GenerateRequest request = Prompt(std::to_string(i), 1 + static_cast<int>(random() % 50),
                                     1 + static_cast<int>(random() % 60), 30 * static_cast<int>(random() % 3));
    request.sampling.seed = random();
    request.max_drafts = static_cast<int>(random() % 9);
    sinks.push_back(Submit(std::move(request)));
    if (random() % 3 == 0) source_->Abort(std::to_string(random() % (i + 1)));
    if (i == 300) source_->AbortAll(absl::UnavailableError("drill"));
    for (int steps = static_cast<int>(random() % 12); steps > 0; --steps) PlannedStep();
  }
  // A step that failed: its guesses are given up too.
  Batch batch;
  source_->Emit(Plan(), batch);
  source_->AbortAll(absl::InternalError("the step failed"));
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_GT(source_->counts().accepted_tokens, 0);
  for (const auto& sink : sinks) EXPECT_EQ(sink->ends, 1);
}

}  // namespace
}  // namespace tandem
