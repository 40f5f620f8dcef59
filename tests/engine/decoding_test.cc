// Ways to decode that must change no bit, and embeddings, on the demo model: the real engine, no network.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "engine/engine.h"
#include "test_backend.h"

namespace tandem {
namespace {

class Sink final : public GenerationSink {
 public:
  struct Completion {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    std::string text;
    FinishReason reason = FinishReason::kCancelled;
    bool operator==(const Completion&) const = default;
  };

  void OnUpdate(GenerationUpdate update) override {
    Completion& completion = completions[update.index];
    completion.tokens.insert(completion.tokens.end(), update.token_ids.begin(), update.token_ids.end());
    for (const TokenLogprobs& logprobs : update.logprobs) completion.logprobs.push_back(logprobs.logprob);
    completion.text += update.text;
  }
  void OnCompletionEnd(GenerationEnd last) override {
    completions[last.index].text += last.text;
    completions[last.index].reason = last.reason;
  }
  void OnEnd(GenerationEnd last) override {
    OnCompletionEnd(last);
    end = std::move(last);
    done_.Notify();
  }
  void Wait() { done_.WaitForNotification(); }

  std::map<int, Completion> completions;
  GenerationEnd end;

 private:
  absl::Notification done_;
};

class DecodingTest : public testing::Test {
 protected:
  DecodingTest() {
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.kv_capacity_tokens = 8192;
    options.scheduler.weigh_drafts = false;  // whether guesses pay is this machine's, and this moment's
    auto created = Engine::Create(options, MakeTestBackend(2));
    EXPECT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    engine_->Start();
  }

  GenerateRequest Request(const std::string& prompt, int max_tokens, float temperature = 1) {
    GenerateRequest request;
    request.request_id = absl::StrCat("r", ++last_request_);
    request.prompt = *engine_->tokenizer().Encode(prompt, SpecialTokens::kAdd);
    request.sampling.temperature = temperature;
    request.sampling.seed = 77;
    request.sampling.num_logprobs = 0;
    request.stop.max_tokens = max_tokens;
    return request;
  }
  std::shared_ptr<Sink> Start(GenerateRequest request) {
    auto sink = std::make_shared<Sink>();
    const absl::Status status = engine_->Generate(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }
  std::shared_ptr<Sink> Run(GenerateRequest request) {
    const auto sink = Start(std::move(request));
    sink->Wait();
    EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
    return sink;
  }

  std::unique_ptr<Engine> engine_;
  int last_request_ = 0;
};

const char* const kStory =
    "Once upon a time there was a little fox. The little fox lived in a forest. Once upon a time there was a little";

TEST_F(DecodingTest, EveryCompletionIsTheSingleRequestWithItsSeedBitForBit) {
  GenerateRequest request = Request(kStory, 40);
  std::vector<Sink::Completion> alone;
  for (int i = 0; i < 4; ++i) {
    GenerateRequest one = request;
    one.request_id += absl::StrCat("-", i);
    one.sampling.seed += i;
    one.cache_salt = absl::StrCat("apart", i);
    alone.push_back(Run(std::move(one))->completions[0]);
  }
  request.num_completions = 4;
  const auto sink = Run(std::move(request));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(sink->completions[i], alone[i]) << i << ": " << sink->completions[i].text;
  EXPECT_NE(alone[0].tokens, alone[1].tokens);
}

TEST_F(DecodingTest, PromptLookupChangesNoBit) {
  std::vector<GenerateRequest> requests;
  requests.push_back(Request(kStory, 120, 0));
  requests.push_back(Request(kStory, 60, 0.3f));
  requests.push_back(Request(kStory, 60, 1));
  requests.push_back(Request(kStory, 60, 0.3f));
  requests.back().sampling.repetition_penalty = 1.1f;
  requests.back().sampling.frequency_penalty = 0.1f;
  requests.push_back(Request(kStory, 60, 0));
  requests.back().stop.stop = {"The end", "fox."};
  requests.push_back(Request(kStory, 60, 0));
  requests.back().stop.min_tokens = 50;
  std::vector<std::shared_ptr<Sink>> plain;
  for (GenerateRequest request : requests) {
    request.request_id += "-plain";
    plain.push_back(Run(request));
  }
  int accepted = 0;
  std::vector<std::shared_ptr<Sink>> guessed;
  for (GenerateRequest request : requests) {
    request.request_id += "-guessed";
    request.max_drafts = 8;
    guessed.push_back(Start(std::move(request)));
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    guessed[i]->Wait();
    ASSERT_TRUE(guessed[i]->end.status.ok()) << guessed[i]->end.status;
    EXPECT_EQ(guessed[i]->completions[0], plain[i]->completions[0]) << i;
    EXPECT_EQ(plain[i]->end.usage.drafted_tokens, 0);
    accepted += guessed[i]->end.usage.accepted_tokens;
  }
  EXPECT_GT(accepted, 0);
  Run(Request("A", 2));  // the status is as of the last step
  EXPECT_EQ(engine_->GetStatus().accepted_tokens, accepted);
}

TEST_F(DecodingTest, AnEmbeddingIsTheSameAloneAndBesideOthersBitForBit) {
  for (const Pooling pooling : {Pooling::kLastToken, Pooling::kMean}) {
    GenerateRequest request = Request(kStory, 0);
    request.pooling = pooling;
    const std::vector<float> alone = Run(request)->end.embedding;
    ASSERT_EQ(alone.size(), static_cast<size_t>(engine_->desc().embedding_width));
    EXPECT_TRUE(std::any_of(alone.begin(), alone.end(), [](float x) { return x != 0; }));
    std::vector<std::shared_ptr<Sink>> others;
    for (int i = 0; i < 3; ++i) others.push_back(Start(Request("Tom wanted a red kite", 30 + i)));
    request.request_id += "-beside";
    request.cache_salt = "apart";
    const auto beside = Start(request);
    for (const auto& other : others) other->Wait();
    beside->Wait();
    EXPECT_EQ(beside->end.embedding, alone);
  }
}

}  // namespace
}  // namespace tandem
