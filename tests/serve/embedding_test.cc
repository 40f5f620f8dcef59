// serve/core: embeddings' inputs become requests, and their ends one answer.
#include "serve/core/embedding.h"

#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/core/generation.h"
#include "serve/fakes.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EmbeddingTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<GenerateRequest>> Resolve(const EmbeddingInput& input) {
    ServeParts parts = engine_.parts();
    parts.model.chat_template = chat_template_.get();
    GenerationHandler handler(parts.model, parts.inference, parts.random);
    return handler.ResolveEmbedding(input);
  }

  std::shared_ptr<EmbeddingGatherer> Gather(size_t count, Normalization normalization) {
    return std::make_shared<EmbeddingGatherer>(count, normalization, [this](absl::StatusOr<EmbeddingResult> result) {
      EXPECT_FALSE(result_.has_value()) << "answered twice";
      result_ = std::move(result);
    });
  }
  static GenerationEnd End(std::vector<float> embedding, int tokens) {
    return {.usage = {.prompt_tokens = tokens, .cached_tokens = 1},
            .adapter_generation = 3,
            .embedding = std::move(embedding)};
  }

  FakeEngine engine_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::optional<absl::StatusOr<EmbeddingResult>> result_;
};

TEST_F(EmbeddingTest, EachInputIsARequestWithoutACompletion) {
  const auto requests = Resolve({.inputs = {"hi", std::vector<int32_t>{5, 6, 7}},
                                 .request_id = "mine",
                                 .adapter = "support",
                                 .pooling = Pooling::kMean,
                                 .priority = 4,
                                 .tenant = "t",
                                 .cache_salt = "s"});
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ((*requests)[0].prompt.size(), 3u);  // BOS, h, i
  EXPECT_THAT((*requests)[1].prompt, ElementsAre(5, 6, 7));
  for (int i = 0; i < 2; ++i) {
    const GenerateRequest& request = (*requests)[i];
    EXPECT_EQ(request.request_id, absl::StrCat("mine#", i));
    EXPECT_EQ(request.pooling, Pooling::kMean);
    EXPECT_EQ(request.stop.max_tokens, 0);
    EXPECT_EQ(request.adapter, "support");
    EXPECT_EQ(request.priority, 4);
    EXPECT_EQ(request.tenant, "t");
    EXPECT_EQ(request.cache_salt, "s");
  }
}

TEST_F(EmbeddingTest, AChatIsRenderedWithoutTheBeginningOfAnAnswer) {
  auto parsed = ChatTemplate::Parse(
      "{% for message in messages %}{{ message.content }}{% endfor %}{% if add_generation_prompt %}answer:{% endif %}",
      Json::object());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  chat_template_ = *std::move(parsed);
  const auto requests = Resolve({.inputs = {std::vector<ChatMessage>{{"user", "hello"}}}});
  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_EQ(engine_.tokenizer.Decode((*requests)[0].prompt, true), "hello");
}

TEST_F(EmbeddingTest, RefusalsNameTheInput) {
  EXPECT_EQ(Resolve({}).status().message(), "the number of inputs is 0, want 1 to 256");
  EXPECT_EQ(Resolve({.inputs = std::vector<Prompt>(257, "hi")}).status().message(),
            "the number of inputs is 257, want 1 to 256");
  EXPECT_THAT(std::string(Resolve({.inputs = {"hi", ""}}).status().message()), HasSubstr("inputs[1]"));
  const int context = engine_.parts().model.max_context;
  EXPECT_TRUE(Resolve({.inputs = {std::vector<int32_t>(context, 1)}}).ok());
  EXPECT_THAT(std::string(Resolve({.inputs = {std::vector<int32_t>(context + 1, 1)}}).status().message()),
              HasSubstr(absl::StrCat("inputs[0] has ", context + 1, " tokens, want at most ", context)));
}

TEST_F(EmbeddingTest, EndsInAnyOrderGiveOneAnswerInTheOrderOfTheInputs) {
  const auto gatherer = Gather(2, Normalization::kNone);
  gatherer->Sink(1)->OnEnd(End({1, 2}, 4));
  EXPECT_FALSE(result_.has_value());
  gatherer->Sink(0)->OnEnd(End({3, 4}, 5));
  ASSERT_TRUE(result_.has_value() && result_->ok());
  EXPECT_THAT((*result_)->embeddings, ElementsAre(ElementsAre(3, 4), ElementsAre(1, 2)));
  EXPECT_THAT((*result_)->tokens, ElementsAre(5, 4));
  EXPECT_EQ((*result_)->usage.prompt_tokens, 9);
  EXPECT_EQ((*result_)->usage.cached_tokens, 2);
  EXPECT_EQ((*result_)->adapter_generation, 3);
}

TEST_F(EmbeddingTest, NormalizedTheyHaveLengthOne) {
  Gather(1, Normalization::kUnitLength)->Sink(0)->OnEnd(End({3, -4}, 2));
  EXPECT_THAT((*result_)->embeddings, ElementsAre(ElementsAre(0.6f, -0.8f)));
  std::vector<float> zeros{0, 0};
  NormalizeLength(zeros);
  EXPECT_THAT(zeros, ElementsAre(0, 0));
}

TEST_F(EmbeddingTest, TheFirstErrorIsTheAnswer) {
  const auto gatherer = Gather(3, Normalization::kNone);
  gatherer->Sink(0)->OnEnd(End({1}, 2));
  gatherer->Sink(2)->OnEnd({.status = absl::DeadlineExceededError("late")});
  gatherer->Sink(1)->OnEnd({.status = absl::CancelledError("with it")});
  gatherer->Fail(absl::CancelledError("gone"));
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(result_->status().message(), "inputs[2]: late");
}

}  // namespace
}  // namespace tandem
