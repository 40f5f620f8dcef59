// The prefix cache, preemption, priorities and tenants, driven by the real policy over a small pool.

#include <map>
#include <random>
#include <string>

#include "inference/memory_fixture.h"

namespace tandem {
namespace {

// --- the prefix cache

TEST_F(MemoryTest, ARequestThatBeginsAlikeIsComputedFromWhereTheyPart) {
  const std::vector<int32_t> cold = Cold(Prompt("cold", 22, 9));
  Submit(Prompt("first", 22, 9));
  RunPlanned();
  EXPECT_EQ(source_->counts().cached_tokens, 0);
  const int before = model_.written_rows;
  const auto second = Submit(Prompt("second", 22, 9));
  RunPlanned();
  EXPECT_EQ(second->token_ids, cold);
  EXPECT_EQ(second->end.usage.cached_tokens, 20);  // five full blocks of four
  EXPECT_EQ(model_.written_rows - before, 2 + 8);
  EXPECT_EQ(source_->counts().cached_tokens, 20);
  EXPECT_EQ(source_->counts().prompt_tokens, 22 + 2);
}

TEST_F(MemoryTest, TheLastTokenOfAPromptAlwaysRuns) {
  for (int i = 0; i < 2; ++i) {
    const auto sink = Submit(Prompt("r", 8, 3));
    RunPlanned();
    EXPECT_EQ(sink->end.usage.cached_tokens, i == 0 ? 0 : 4);
  }
}

TEST_F(MemoryTest, AnAnswerIsAPrefixToo) {
  const auto first = Submit(Prompt("r", 6, 10));
  RunPlanned();
  GenerateRequest next = Prompt("next", 6, 4);
  next.prompt.insert(next.prompt.end(), first->token_ids.begin(), first->token_ids.end());
  next.prompt.push_back(7);
  const std::vector<int32_t> cold_tokens = [&] {
    const auto sink = Submit(next);
    RunPlanned();
    EXPECT_EQ(sink->end.usage.cached_tokens, 12);  // 15 of 16 lie in the KV: three full blocks
    return sink->token_ids;
  }();
  EXPECT_EQ(cold_tokens, Cold(next));
}

TEST_F(MemoryTest, RequestsThatRunShareBlocks) {
  Submit(Prompt("a", 21, 20));
  PlannedStep();
  const int alone = pool_.used();
  Submit(Prompt("b", 21, 20));
  PlannedStep();
  EXPECT_EQ(pool_.used(), alone + 1);
  source_->Abort("a");
  EXPECT_EQ(pool_.used(), alone);
  RunPlanned();
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(MemoryTest, AnotherGenerationAnotherAdapterOrAnotherSaltNeverHits) {
  const AdapterRef one{.id = 1, .generation = 1};
  GenerateRequest request = Prompt("r", 22, 5);
  Submit(request, one);
  RunPlanned();
  for (const AdapterRef other : {AdapterRef{1, 2}, AdapterRef{2, 1}, AdapterRef{}}) {
    const auto sink = Submit(request, other);
    RunPlanned();
    EXPECT_EQ(sink->end.usage.cached_tokens, 0);
  }
  request.cache_salt = "mine";
  const auto salted = Submit(request, one), again = Submit(Prompt("again", 22, 5), one);
  RunPlanned();
  EXPECT_EQ(salted->end.usage.cached_tokens, 0);
  EXPECT_EQ(again->end.usage.cached_tokens, 20);
}

TEST_F(MemoryTest, SwitchedOffItKeepsNothing) {
  Restart({.prefix_cache = false});
  for (int i = 0; i < 2; ++i) {
    const auto sink = Submit(Prompt("r", 22, 5));
    RunPlanned();
    EXPECT_EQ(sink->end.usage.cached_tokens, 0);
  }
  EXPECT_EQ(pool_.cached(), 0);
}

// --- preemption

TEST_F(MemoryTest, PreemptedRequestsAnswerAsIfTheyHadBeenAlone) {
  for (const bool cache : {true, false}) {
    std::vector<GenerateRequest> requests;
    std::vector<std::vector<int32_t>> alone;
    for (int i = 0; i < 6; ++i) {
      requests.push_back(Prompt(std::to_string(i), 9 + i, 60, 20 * i));
      alone.push_back(Cold(requests.back()));
    }
    Restart({.prefix_cache = cache});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (const GenerateRequest& request : requests) sinks.push_back(Submit(request));
    RunPlanned();
    EXPECT_GT(source_->counts().preemptions, 0);
    int prompt_tokens = 0;
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(sinks[i]->token_ids, alone[i]) << i;
      EXPECT_EQ(sinks[i]->end.reason, FinishReason::kLength);
      prompt_tokens += 9 + i;
    }
    EXPECT_EQ(source_->counts().prompt_tokens, prompt_tokens) << "recomputed rows are not counted";
  }
}

TEST_F(MemoryTest, TheLastOfTheLowestPriorityGivesWay) {
  GenerateRequest important = Prompt("important", 60, 50);
  important.priority = -1;
  const auto first = Submit(Prompt("first", 10, 40, 50));
  const auto last = Submit(Prompt("last", 10, 40, 90));
  now_ += absl::Seconds(1);
  const auto sink = Submit(important);
  while (source_->counts().preemptions == 0 && !source_->idle()) PlannedStep();
  EXPECT_EQ(source_->counts().preemptions, 1);
  EXPECT_EQ(source_->counts().running, 2);
  const size_t so_far = last->token_ids.size();
  PlannedStep();
  EXPECT_EQ(last->token_ids.size(), so_far) << "another one was preempted";
  RunPlanned();
  for (const auto& each : {first, last, sink}) EXPECT_TRUE(each->end.status.ok());
}

TEST_F(MemoryTest, ThousandsOfRequestsWithCancellationsAndPreemptionsLeaveThePoolFull) {
  for (const uint32_t seed : {1u, 2u}) {
    std::mt19937 random(seed);
    Restart();
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 2000; ++i) {
      // Few different beginnings, so that the cache is hit.
      GenerateRequest request = Prompt(std::to_string(i), 1 + random() % 50, 1 + random() % 40, 30 * (random() % 3));
      request.priority = static_cast<int>(random() % 3);
      request.tenant = std::string(1, static_cast<char>('a' + random() % 3));
      if (random() % 8 == 0) request.deadline = now_ + absl::Milliseconds(1 + random() % 200);
      sinks.push_back(Submit(std::move(request), {.id = static_cast<int32_t>(random() % 2), .generation = 1}));
      if (random() % 4 == 0) source_->Abort(std::to_string(random() % (i + 1)));
      for (int steps = random() % 6; steps > 0; --steps) PlannedStep();
      ASSERT_LE(pool_.used(), kNumBlocks);
    }
    RunPlanned();
    EXPECT_EQ(pool_.used(), 0);
    EXPECT_GT(source_->counts().preemptions, 0);
    EXPECT_GT(source_->counts().cached_tokens, 0);
    for (const auto& sink : sinks) EXPECT_EQ(sink->ends, 1);
  }
}

// --- who goes first

TEST_F(MemoryTest, ALowerPriorityNumberGoesFirst) {
  options_.max_running_requests = 1;
  const auto first = Submit(Prompt("first", 4, 5)), second = Submit(Prompt("second", 4, 5, 40));
  GenerateRequest urgent = Prompt("urgent", 4, 5, 80);
  urgent.priority = -1;
  const auto third = Submit(urgent);
  while (!third->ended()) PlannedStep();
  EXPECT_EQ(first->updates + second->updates, 0);
  RunPlanned();
}

// Tokens that each tenant was given while both had requests waiting.
std::map<std::string, int> Share(const std::map<std::string, std::vector<std::shared_ptr<RecordingSink>>>& sinks) {
  std::map<std::string, int> tokens;
  for (const auto& [tenant, all] : sinks) {
    for (const auto& sink : all) tokens[tenant] += static_cast<int>(sink->token_ids.size());
  }
  return tokens;
}

TEST_F(MemoryTest, ATenantWithManyRequestsLeavesTheOtherItsShare) {
  for (const double weight : {1.0, 3.0}) {
    Restart({.max_waiting = 4000, .tenant_weights = {{"small", weight}}});
    options_.max_running_requests = 4;
    std::map<std::string, std::vector<std::shared_ptr<RecordingSink>>> sinks;
    for (int i = 0; i < 400; ++i) {
      GenerateRequest request = Prompt(std::to_string(i), 8, 8, i);
      request.tenant = i < 300 ? "greedy" : "small";
      sinks[request.tenant].push_back(Submit(request));
    }
    for (int steps = 0; steps < 240; ++steps) PlannedStep();
    std::map<std::string, int> tokens = Share(sinks);
    EXPECT_GT(tokens["small"], 0);
    EXPECT_NEAR(static_cast<double>(tokens["small"]) / tokens["greedy"], weight, 0.15 * weight);
    source_->AbortAll(absl::CancelledError("enough"));
  }
}

TEST_F(MemoryTest, ATenantThatComesBackEarnsNothingFromBeingIdle) {
  Tenants tenants({});
  tenants.Enter("busy");
  tenants.Serve("busy", 100, 50);
  tenants.Enter("new");
  EXPECT_EQ(tenants.served("new"), 200);
  const std::vector<int> turns =
      tenants.Turns({{.sequence = 1, .tenant = "busy", .arrival = now_, .prompt_tokens = 10},
                     {.sequence = 2, .tenant = "busy", .arrival = now_, .prompt_tokens = 10},
                     {.sequence = 3, .tenant = "new", .arrival = now_, .prompt_tokens = 10}});
  EXPECT_EQ(turns, (std::vector<int>{1, 3, 2}));
}

}  // namespace
}  // namespace tandem
