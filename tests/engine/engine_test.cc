// The whole engine on the demo model: real steps, real thread, no network. Linked twice: with the CPU backend, and with
// one that runs ahead.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/recording.h"
#include "test_backend.h"

namespace tandem {
namespace {

class EngineTest : public testing::Test {
 protected:
  EngineTest() : directory(std::filesystem::path(testing::TempDir()) / absl::StrCat("engine_test.", getpid())) {
    std::filesystem::remove_all(directory);
    engine = MakeEngine();
  }
  ~EngineTest() override {
    engine.reset();
    std::filesystem::remove_all(directory);
  }

  EngineOptions Options() const {
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.kv_capacity_tokens = 4096;
    options.adapters_directory = directory.string();
    return options;
  }
  std::unique_ptr<Engine> MakeEngine(int kv_tokens = 4096, bool prefix_cache = true) {
    EngineOptions options = Options();
    options.kv_capacity_tokens = kv_tokens;
    options.inference.prefix_cache = prefix_cache;
    return MakeEngine(options);
  }
  static std::unique_ptr<Engine> MakeEngine(const EngineOptions& options) {
    auto created = Engine::Create(options, MakeTestBackend(2));
    EXPECT_TRUE(created.ok()) << created.status();
    (*created)->Start();
    return *std::move(created);
  }

  GenerateRequest Request(const std::string& prompt, int max_tokens = 48) {
    GenerateRequest request;
    request.request_id = absl::StrCat("r", ++last_request);
    request.prompt = *engine->tokenizer().Encode(prompt, SpecialTokens::kAdd);
    request.sampling.temperature = 0;
    request.stop.max_tokens = max_tokens;
    return request;
  }

  std::shared_ptr<RecordingGeneration> Start(GenerateRequest request) {
    auto sink = std::make_shared<RecordingGeneration>();
    const absl::Status status = engine->Generate(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }

  std::vector<int32_t> Tokens(GenerateRequest request) {
    const auto sink = Start(std::move(request));
    sink->Wait();
    EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
    return sink->tokens;
  }

  static JobSpec Job(const std::string& name, int steps) {
    JobSpec spec;
    spec.adapter_name = name;
    spec.data_name = "test.jsonl";
    for (int i = 0; i < 8; ++i) {
      spec.data += absl::StrCat("{\"prompt\": \"The ", i,
                                ". word is\", \"completion\": \" ahoy, said the captain of ship ", i * i, "\"}\n");
    }
    spec.peft.rank = 8;
    spec.hyperparameters.max_steps = steps;
    spec.hyperparameters.gradient_accumulation = 4;
    spec.hyperparameters.learning_rate = 1e-2;
    return spec;
  }

  static std::vector<double> Losses(const std::vector<JobEvent>& events) {
    std::vector<double> losses;
    for (const JobEvent& event : events) {
      if (event.kind == JobEventKind::kStep) losses.push_back(event.loss);
    }
    return losses;
  }

  std::shared_ptr<RecordingWatcher> Watch(const std::string& id) {
    auto watcher = std::make_shared<RecordingWatcher>();
    EXPECT_TRUE(engine->WatchJob(id, 1, watcher).ok());
    return watcher;
  }

  // Those of an endless job while `something` happens to it, and of two steps more.
  std::vector<double> LossesAround(const std::function<void(RecordingWatcher&)>& something) {
    const auto job = engine->CreateJob(Job("disturbed", 100000));
    EXPECT_TRUE(job.ok()) << job.status();
    const auto watcher = Watch(job->id);
    watcher->WaitForStep(1);
    something(*watcher);
    watcher->WaitForStep(engine->GetJob(job->id)->step + 2);
    EXPECT_TRUE(engine->CancelJob(job->id).ok());
    return Losses(watcher->Wait());
  }
  // The first `steps` of the same job.
  std::vector<double> LossesAlone(size_t steps) {
    std::vector<double> losses =
        LossesAround([&](RecordingWatcher& watcher) { watcher.WaitForStep(static_cast<int>(steps)); });
    losses.resize(steps);
    return losses;
  }

  std::filesystem::path directory;
  std::unique_ptr<Engine> engine;
  int last_request = 0;
};

TEST_F(EngineTest, GreedyTokensAreTheSameWithAndWithoutTrainingBeside) {
  const std::vector<std::string> prompts = {"Once upon a time", "There once was a fox", "Tom wanted a red kite because",
                                            "A"};
  std::vector<std::vector<int32_t>> alone;
  for (const std::string& prompt : prompts) alone.push_back(Tokens(Request(prompt, 96)));

  const auto job = engine->CreateJob(Job("beside", 100000));
  ASSERT_TRUE(job.ok()) << job.status();
  Watch(job->id)->WaitForStep(1);
  const int64_t trained_before = engine->GetStatus().trained_tokens;
  std::vector<std::shared_ptr<RecordingGeneration>> sinks;
  for (const std::string& prompt : prompts) sinks.push_back(Start(Request(prompt, 96)));
  for (size_t i = 0; i < prompts.size(); ++i) {
    sinks[i]->Wait();
    EXPECT_EQ(sinks[i]->tokens, alone[i]) << prompts[i];
  }
  EXPECT_GT(engine->GetStatus().trained_tokens, trained_before) << "nothing was trained beside the requests";
  EXPECT_TRUE(engine->CancelJob(job->id).ok());
}

TEST_F(EngineTest, LossesAreTheSameWithAndWithoutInferenceBeside) {
  const auto alone = engine->CreateJob(Job("alone", 12));
  ASSERT_TRUE(alone.ok()) << alone.status();
  const std::vector<double> want = Losses(Watch(alone->id)->Wait());
  ASSERT_EQ(want.size(), 12u);
  EXPECT_LT(want.back(), want.front());

  const auto beside = engine->CreateJob(Job("beside", 12));
  ASSERT_TRUE(beside.ok()) << beside.status();
  const auto watcher = Watch(beside->id);
  std::vector<std::shared_ptr<RecordingGeneration>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Start(Request(std::string(1 + 40 * i, 'a'), 64)));
  const std::vector<double> got = Losses(watcher->Wait());
  for (const auto& sink : sinks) sink->Wait();
  EXPECT_EQ(got, want);
}

TEST_F(EngineTest, LossesAreTheSameWhereBackwardGivesWayToRequests) {
  EngineOptions options = Options();
  options.slo = {.ttft = absl::Seconds(1), .tpot = absl::Milliseconds(20)};
  options.scheduler.max_iteration = absl::Milliseconds(50);
  engine = MakeEngine(options);
  // Whether a request comes in the middle of a backward is luck: they come until one has.
  const std::vector<double> got = LossesAround([&](RecordingWatcher&) {
    while (engine->GetStatus().scheduler.yields == 0) Tokens(Request("A", 2));
  });
  engine = MakeEngine();
  EXPECT_EQ(got, LossesAlone(got.size()));
}

TEST_F(EngineTest, ProfilesInIdleTimeBetweenRequestsAndKeepsWhatItLearned) {
  EngineOptions options = Options();
  options.cost_directory = (directory / "cost").string();
  options.profile_limit = absl::Milliseconds(200);
  engine = MakeEngine(options);
  const auto state = [&] { return engine->GetStatus().scheduler.cost_model; };
  while (state() != "profile") EXPECT_EQ(Tokens(Request("A", 2)).size(), 2u);
  engine = MakeEngine(options);
  Tokens(Request("A", 2));
  EXPECT_EQ(state(), "file");
}

TEST_F(EngineTest, APriorityHasTheTargetsOfItsClass) {
  EngineOptions options = Options();
  options.slo_classes[-1] = {.ttft = absl::Hours(1), .tpot = absl::Hours(1)};
  engine = MakeEngine(options);
  Tokens(Request("A", 2));
  EXPECT_EQ(engine->GetStatus().scheduler.slo_requests, 0);
  GenerateRequest urgent = Request("A", 2);
  urgent.priority = -1;
  Tokens(std::move(urgent));
  Tokens(Request("A", 2));
  EXPECT_EQ(engine->GetStatus().scheduler.slo_requests, 1);
}

TEST_F(EngineTest, LossesAreTheSameThoughRequestsTakeTrainingsBlocks) {
  engine = nullptr;
  engine = MakeEngine(512);
  // The prompt alone takes the whole pool, so the first request that meets a sequence in training takes its blocks.
  const std::vector<double> got = LossesAround([&](RecordingWatcher&) {
    for (int i = 0; engine->GetStatus().training_preemptions == 0; ++i) {
      // One that came with the end of the last, or right behind an optimizer step, would find none.
      while (engine->GetStatus().kv_blocks_used == 0) std::this_thread::yield();
      GenerateRequest request = Request("A", 2);
      request.prompt.assign(508, request.prompt.back());
      request.prompt[0] = 10 + i % 200;  // so that no block of it is cached
      Tokens(std::move(request));
    }
  });
  engine = nullptr;
  engine = MakeEngine(512);
  const std::vector<double> want = LossesAlone(got.size());
  EXPECT_EQ(engine->GetStatus().training_preemptions, 0);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12 * want[i]) << "step " << i + 1;
}

TEST_F(EngineTest, ATrainedAdapterAnswersAtOnceAndMixesWithTheBaseModel) {
  const std::vector<int32_t> base = Tokens(Request("The 3. word is", 12));
  const auto job = engine->CreateJob(Job("captain", 40));
  ASSERT_TRUE(job.ok()) << job.status();
  const std::vector<JobEvent> events = Watch(job->id)->Wait();
  EXPECT_EQ(events.back().state, JobState::kSucceeded) << engine->GetJob(job->id)->error;

  GenerateRequest adapted = Request("The 3. word is", 12);
  adapted.adapter = "captain";
  const auto with_adapter = Start(std::move(adapted)), without = Start(Request("The 3. word is", 12));
  with_adapter->Wait();
  without->Wait();
  EXPECT_EQ(without->tokens, base);
  EXPECT_NE(with_adapter->tokens, base);
  EXPECT_NE(with_adapter->text.find("captain"), std::string::npos) << with_adapter->text;
  EXPECT_EQ(with_adapter->end.adapter_generation, 1);
}

TEST_F(EngineTest, PublishedAdaptersAreBackAfterARestart) {
  for (int generation = 1; generation <= 2; ++generation) {
    const auto job = engine->CreateJob(Job("kept", 2));
    ASSERT_TRUE(job.ok()) << job.status();
    Watch(job->id)->Wait();
  }
  GenerateRequest request = Request("The 3. word is", 12);
  request.adapter = "kept";
  const GenerateRequest again = request;
  const std::vector<int32_t> before = Tokens(request);
  engine = nullptr;
  engine = MakeEngine();
  ASSERT_EQ(engine->ListAdapters().size(), 1u);
  EXPECT_EQ(engine->ListAdapters()[0].generation, 2);
  EXPECT_EQ(Tokens(again), before);
  const auto job = engine->CreateJob(Job("kept", 2));
  Watch(job->id)->Wait();
  EXPECT_EQ(engine->ListAdapters()[0].generation, 3);
}

// A prompt of a few blocks.
std::string LongPrompt(int i) {
  return absl::StrCat("Once upon a time there was a fox who had ", i,
                      " red kites and a boat, and every day he went down ",
                      "to the river with them, because the wind was good there and the river was wide and green.");
}

TEST_F(EngineTest, ACachedPromptGivesTheSameTokensAsAColdOne) {
  for (const float temperature : {0.0f, 1.0f}) {
    GenerateRequest request = Request(LongPrompt(3));
    request.sampling.temperature = temperature;
    request.cache_salt = absl::StrCat(temperature);
    const auto cold = Start(request);
    cold->Wait();
    const auto warm = Start(request);
    warm->Wait();
    EXPECT_EQ(cold->end.usage.cached_tokens, 0);
    EXPECT_GE(warm->end.usage.cached_tokens, 32);
    EXPECT_EQ(warm->tokens, cold->tokens);
  }
  EXPECT_GT(engine->GetStatus().cached_prompt_tokens, 0);
  EXPECT_GT(engine->GetStatus().kv_blocks_cached, 0);
}

TEST_F(EngineTest, AReplacedAdapterNeverAnswersFromOldKv) {
  GenerateRequest request = Request(LongPrompt(5), 12);
  request.adapter = "replaced";
  for (int generation = 1; generation <= 2; ++generation) {
    const auto job = engine->CreateJob(Job("replaced", 3));
    ASSERT_TRUE(job.ok()) << job.status();
    Watch(job->id)->Wait();
    const auto first = Start(request);
    first->Wait();
    EXPECT_EQ(first->end.adapter_generation, generation);
    EXPECT_EQ(first->end.usage.cached_tokens, 0);
    const auto second = Start(request);
    second->Wait();
    EXPECT_GT(second->end.usage.cached_tokens, 0);
    EXPECT_EQ(second->tokens, first->tokens);
  }
}

TEST_F(EngineTest, PreemptedRequestsGiveTheSameTokensAsAlone) {
  constexpr int kRequests = 6;
  std::vector<GenerateRequest> requests;
  std::vector<std::vector<int32_t>> alone;
  for (int i = 0; i < kRequests; ++i) {
    requests.push_back(Request(LongPrompt(i), 120));
    requests.back().sampling = {.temperature = i % 2 ? 1.0f : 0.0f, .seed = static_cast<uint64_t>(i)};
    alone.push_back(Tokens(requests.back()));
  }
  for (const bool prefix_cache : {true, false}) {
    engine = nullptr;
    engine = MakeEngine(512, prefix_cache);
    std::vector<std::shared_ptr<RecordingGeneration>> sinks;
    {
      const StepHold together(*engine);
      for (const GenerateRequest& request : requests) sinks.push_back(Start(request));
    }
    for (int i = 0; i < kRequests; ++i) {
      sinks[i]->Wait();
      EXPECT_EQ(sinks[i]->tokens, alone[i]) << i;
    }
    EXPECT_GT(engine->GetStatus().preemptions, 0);
  }
}

TEST_F(EngineTest, LogprobsOfACompletionAreThoseOfTheSameTokensInAPrompt) {
  GenerateRequest request = Request("Once upon a time", 12);
  request.sampling.num_logprobs = 3;
  const std::vector<int32_t> prompt = request.prompt;
  const auto completion = Start(std::move(request));
  completion->Wait();
  ASSERT_EQ(completion->logprobs.size(), 12u);

  GenerateRequest whole = Request("", 1);
  whole.prompt = prompt;
  whole.prompt.insert(whole.prompt.end(), completion->tokens.begin(), completion->tokens.end());
  whole.prompt_logprobs = 3;
  const auto scored = Start(std::move(whole));
  scored->Wait();
  ASSERT_EQ(scored->prompt_logprobs.size(), prompt.size() + 12);
  for (size_t i = 0; i < 12; ++i) {
    const TokenLogprobs &drawn = completion->logprobs[i], &given = scored->prompt_logprobs[prompt.size() + i];
    EXPECT_EQ(drawn.token, completion->tokens[i]);
    EXPECT_EQ(given.token, drawn.token);
    EXPECT_EQ(given.logprob, drawn.logprob) << "a row's logits depend on nothing but what stands before it";
    ASSERT_EQ(drawn.top.size(), 3u);
    EXPECT_EQ(drawn.top[0].token, drawn.token) << "greedy";
    EXPECT_EQ(given.top[2].logprob, drawn.top[2].logprob);
  }
}

TEST_F(EngineTest, RulesShapeTheTextOfTheDemoModel) {
  const std::vector<int32_t> plain = Tokens(Request("Once upon a time", 8));
  auto rules = std::make_shared<TokenRules>();
  rules->bad_words = {{plain[0]}, {plain[1], plain[2]}};
  GenerateRequest request = Request("Once upon a time", 8);
  request.sampling.rules = rules;
  const std::vector<int32_t> tokens = Tokens(std::move(request));
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), plain[0]), 0);
  for (size_t i = 1; i < tokens.size(); ++i) EXPECT_FALSE(tokens[i - 1] == plain[1] && tokens[i] == plain[2]);
}

TEST_F(EngineTest, RefusesWhatCannotRunWithGotAndWant) {
  const auto refusal = [&](GenerateRequest request) {
    return std::string(engine->Generate(std::move(request), std::make_shared<RecordingGeneration>()).message());
  };
  EXPECT_NE(refusal(Request("A", 5000)).find("want at most 2048 (the model's context)"), std::string::npos);
  GenerateRequest token = Request("A");
  token.prompt.push_back(999999);
  EXPECT_NE(refusal(token).find("prompt token 999999, want one in [0, "), std::string::npos);
  GenerateRequest adapter = Request("A");
  adapter.adapter = "nobody";
  EXPECT_NE(refusal(adapter).find("nobody"), std::string::npos);
}

TEST_F(EngineTest, AbortFreesEveryBlockWithinAStep) {
  std::vector<std::shared_ptr<RecordingGeneration>> sinks;
  for (int i = 0; i < 8; ++i) {
    GenerateRequest request = Request("Once", 400);
    request.request_id = absl::StrCat("abort", i);
    sinks.push_back(Start(std::move(request)));
  }
  sinks.back()->WaitForFirst();  // by then all of them hold blocks
  for (int i = 0; i < 8; ++i) engine->Abort(absl::StrCat("abort", i));
  for (const auto& sink : sinks) sink->Wait();
  Tokens(Request("A", 2));  // one more step: the status is as of the last
  while (engine->GetStatus().running_requests > 0) std::this_thread::yield();
  EXPECT_EQ(engine->GetStatus().kv_blocks_used, 0);
}

TEST_F(EngineTest, DrainLetsRunningRequestsFinishAndRefusesNewOnes) {
  const auto sink = Start(Request("Once upon a time", 64));
  sink->WaitForFirst();
  engine->Drain(absl::Seconds(60));
  EXPECT_TRUE(sink->done());
  EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
  EXPECT_EQ(sink->tokens.size(), 64u);
  EXPECT_TRUE(absl::IsUnavailable(engine->Generate(Request("A"), std::make_shared<RecordingGeneration>())));
  EXPECT_TRUE(absl::IsUnavailable(engine->CreateJob(Job("late", 1)).status()));
}

TEST_F(EngineTest, DrainWithoutGraceEndsRunningRequestsWithAStatus) {
  const auto sink = Start(Request("Once upon a time", 1500));
  sink->WaitForFirst();
  StepHold hold(*engine);
  std::thread drain([&] { engine->Drain(absl::ZeroDuration()); });
  while (!engine->GetStatus().draining) std::this_thread::yield();
  hold.Release();
  drain.join();
  EXPECT_TRUE(sink->done());
  EXPECT_TRUE(absl::IsUnavailable(sink->end.status)) << sink->end.status;
}

TEST_F(EngineTest, RandomTrafficAndCancellationsLeaveThePoolFull) {
  std::mt19937 random(1);
  const auto job = engine->CreateJob(Job("noise", 100000));
  ASSERT_TRUE(job.ok()) << job.status();
  std::vector<std::shared_ptr<RecordingGeneration>> sinks;
  for (int i = 0; i < 60; ++i) {
    GenerateRequest request = Request(std::string(1 + random() % 200, 'x'), 1 + random() % 60);
    const std::string id = request.request_id;
    sinks.push_back(Start(std::move(request)));
    if (random() % 2 == 0) engine->Abort(absl::StrCat("r", 1 + random() % last_request));
  }
  for (const auto& sink : sinks) sink->Wait();
  ASSERT_TRUE(engine->CancelJob(job->id).ok());
  Watch(job->id)->Wait();
  Tokens(Request("A", 2));
  while (engine->GetStatus().running_requests > 0) std::this_thread::yield();
  EXPECT_EQ(engine->GetStatus().kv_blocks_used, 0);
  EXPECT_EQ(engine->GetJob(job->id)->state, JobState::kCancelled);
}

}  // namespace
}  // namespace tandem
