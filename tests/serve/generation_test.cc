// serve/core: defaults, checks and tokenization of a generation request.
#include "serve/core/generation.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/fakes.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerationTest : public testing::Test {
 protected:
  absl::StatusOr<GenerateRequest> Resolve(const GenerationInput& input) {
    ServeParts parts = engine_.parts();
    parts.model.defaults = defaults_;
    parts.model.chat_template = chat_template_.get();
    GenerationHandler handler(parts.model, parts.inference, parts.random);
    return handler.Resolve(input);
  }

  // The message of the refusal.
  std::string Refusal(const GenerationInput& input) {
    const absl::StatusOr<GenerateRequest> request = Resolve(input);
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << request.status();
    return std::string(request.status().message());
  }

  void UseChatTemplate() {
    auto parsed = ChatTemplate::Parse(
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        Json::object());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    chat_template_ = *std::move(parsed);
  }

  std::string Text(const GenerateRequest& request) { return engine_.tokenizer.Decode(request.prompt, true); }

  FakeEngine engine_;
  GenerationDefaults defaults_{.eos_token_ids = {2, 3}};
  std::unique_ptr<ChatTemplate> chat_template_;
};

TEST_F(GenerationTest, UnsetFieldsTakeTheDocumentedDefaults) {
  const auto request = Resolve({.prompt = "hi"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 1.0f);
  EXPECT_EQ(request->sampling.top_k, 0);
  EXPECT_EQ(request->sampling.top_p, 1.0f);
  EXPECT_EQ(request->stop.max_tokens, 256);
  EXPECT_TRUE(request->skip_special_tokens);
}

TEST_F(GenerationTest, UnsetFieldsTakeTheModelsDefaultsFirst) {
  defaults_ = {.temperature = 0.6f, .top_k = 20, .top_p = 0.95f, .max_tokens = 77};
  const auto request = Resolve({.prompt = "hi"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0.6f);
  EXPECT_EQ(request->sampling.top_k, 20);
  EXPECT_EQ(request->sampling.top_p, 0.95f);
  EXPECT_EQ(request->stop.max_tokens, 77);
}

TEST_F(GenerationTest, TheRequestGoesBeforeTheModelsDefaults) {
  defaults_ = {.temperature = 0.6f, .top_k = 20, .top_p = 0.95f, .max_tokens = 77};
  const auto request = Resolve({.prompt = "hi", .temperature = 0.0f, .top_p = 0.5f, .top_k = 0, .max_tokens = 5});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.top_k, 0);
  EXPECT_EQ(request->sampling.top_p, 0.5f);
  EXPECT_EQ(request->stop.max_tokens, 5);
}

TEST_F(GenerationTest, DefaultMaxTokensIsWhatTheContextLeaves) {
  const auto request = Resolve({.prompt = std::vector<int32_t>(500, 1)});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->stop.max_tokens, 12);
}

TEST_F(GenerationTest, SeedIsDrawnWhereUnsetAndKeptWhereSet) {
  EXPECT_EQ(Resolve({.prompt = "hi"})->sampling.seed, 4711u);
  EXPECT_EQ(Resolve({.prompt = "hi", .seed = 0})->sampling.seed, 0u);
}

TEST_F(GenerationTest, ModelsEndTokensStopUnlessIgnored) {
  EXPECT_THAT(Resolve({.prompt = "hi", .stop_token_ids = {9}})->stop.stop_token_ids, ElementsAre(9, 2, 3));
  EXPECT_THAT(Resolve({.prompt = "hi", .stop_token_ids = {9}, .ignore_eos = true})->stop.stop_token_ids,
              ElementsAre(9));
}

TEST_F(GenerationTest, TextIsEncodedWithSpecialTokens) {
  EXPECT_THAT(Resolve({.prompt = "a"})->prompt, ElementsAre(FakeTokenizer::kBos, 'a' + 1));
}

TEST_F(GenerationTest, TokensAreTakenAsTheyAre) {
  EXPECT_THAT(Resolve({.prompt = std::vector<int32_t>{5, 6}})->prompt, ElementsAre(5, 6));
}

TEST_F(GenerationTest, ChatIsRenderedAndEncodedWithoutSpecialTokens) {
  UseChatTemplate();
  const auto request = Resolve({.prompt = std::vector<ChatMessage>{{"system", "be kind"}, {"user", "hi"}}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(Text(*request), "system: be kind\nuser: hi\nassistant:");
  EXPECT_NE(request->prompt[0], FakeTokenizer::kBos);
}

TEST_F(GenerationTest, RequestIdsDiffer) {
  ServeParts parts = engine_.parts();
  GenerationHandler handler(parts.model, parts.inference, parts.random);
  EXPECT_NE(handler.Resolve({.prompt = "a"})->request_id, handler.Resolve({.prompt = "a"})->request_id);
}

TEST_F(GenerationTest, RefusesTemperatureOutOfRange) {
  EXPECT_EQ(Refusal({.prompt = "hi", .temperature = -0.1f}), "temperature is -0.1, want 0 to 100");
  EXPECT_EQ(Refusal({.prompt = "hi", .temperature = 101.0f}), "temperature is 101, want 0 to 100");
  EXPECT_EQ(Refusal({.prompt = "hi", .temperature = std::nanf("")}), "temperature is nan, want 0 to 100");
  EXPECT_EQ(Refusal({.prompt = "hi", .temperature = std::numeric_limits<float>::infinity()}),
            "temperature is inf, want 0 to 100");
}

TEST_F(GenerationTest, RefusesTopPOutOfRange) {
  EXPECT_EQ(Refusal({.prompt = "hi", .top_p = 0.0f}), "top_p is 0, want more than 0 and at most 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .top_p = 1.5f}), "top_p is 1.5, want more than 0 and at most 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .top_p = std::nanf("")}), "top_p is nan, want more than 0 and at most 1");
}

TEST_F(GenerationTest, RefusesNegativeTopK) {
  EXPECT_EQ(Refusal({.prompt = "hi", .top_k = -1}), "top_k is -1, want 0 to 2147483647");
}

TEST_F(GenerationTest, RefusesMaxTokensThatTheContextDoesNotLeave) {
  EXPECT_EQ(Refusal({.prompt = "abc", .max_tokens = 0}),
            "max_tokens is 0, want 1 to 508: the prompt has 4 tokens, the context holds 512");
  EXPECT_EQ(Refusal({.prompt = "abc", .max_tokens = 509}),
            "max_tokens is 509, want 1 to 508: the prompt has 4 tokens, the context holds 512");
}

TEST_F(GenerationTest, RefusesPromptLongerThanTheContextWithBothFigures) {
  EXPECT_EQ(Refusal({.prompt = std::string(600, 'x')}),
            "prompt has 601 tokens, want at most 511: the context holds 512 with the completion");
}

TEST_F(GenerationTest, RefusesEmptyPrompts) {
  EXPECT_EQ(Refusal({}), "prompt is missing, want text, tokens or chat messages");
  EXPECT_EQ(Refusal({.prompt = ""}), "prompt text is empty, want at least one character");
  EXPECT_EQ(Refusal({.prompt = std::vector<int32_t>{}}), "prompt has 0 tokens, want at least 1");
  EXPECT_EQ(Refusal({.prompt = std::vector<ChatMessage>{}}), "chat has 0 messages, want at least 1");
}

TEST_F(GenerationTest, RefusesTextThatIsNotUtf8WithTheOffset) {
  EXPECT_EQ(Refusal({.prompt = "ab\xff"}), "prompt text is not UTF-8: byte 0xff at offset 2");
  UseChatTemplate();
  EXPECT_EQ(Refusal({.prompt = std::vector<ChatMessage>{{"user", "\xed\xa0\x80"}}}),
            "messages[0].content is not UTF-8: byte 0xed at offset 0");
  EXPECT_EQ(Refusal({.prompt = "hi", .stop = {"\xc0\xaf"}}), "stop[0] is not UTF-8: byte 0xc0 at offset 0");
}

TEST_F(GenerationTest, RefusesUnknownRolesWithTheNearest) {
  UseChatTemplate();
  EXPECT_EQ(Refusal({.prompt = std::vector<ChatMessage>{{"user", "a"}, {"asistant", "b"}}}),
            "messages[1].role is 'asistant', want system, user, assistant or tool; did you mean 'assistant'?");
}

TEST_F(GenerationTest, RefusesStopStrings) {
  EXPECT_EQ(Refusal({.prompt = "hi", .stop = std::vector<std::string>(17, "x")}),
            "stop has 17 strings, want at most 16");
  EXPECT_EQ(Refusal({.prompt = "hi", .stop = {"x", ""}}), "stop[1] is empty, want a string");
  EXPECT_EQ(Refusal({.prompt = "hi", .stop = {std::string(1025, 'x')}}), "stop[0] has 1025 bytes, want at most 1024");
}

TEST_F(GenerationTest, RefusesStopTokens) {
  EXPECT_EQ(Refusal({.prompt = "hi", .stop_token_ids = {1, -4}}),
            "stop_token_ids[1] is -4, want a token id of the model: 0 to 256");
  EXPECT_EQ(Refusal({.prompt = "hi", .stop_token_ids = std::vector<int32_t>(1025)}),
            "stop_token_ids has 1025 ids, want at most 1024");
}

TEST_F(GenerationTest, ModelsDefaultsReachEverySamplingField) {
  defaults_ = {.min_p = 0.1f, .typical_p = 0.9f, .repetition_penalty = 1.2f, .min_tokens = 4};
  const auto request = Resolve({.prompt = "hi"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.min_p, 0.1f);
  EXPECT_EQ(request->sampling.typical_p, 0.9f);
  EXPECT_EQ(request->sampling.repetition_penalty, 1.2f);
  EXPECT_EQ(request->stop.min_tokens, 4);
  EXPECT_EQ(Resolve({.prompt = "hi", .max_tokens = 2})->stop.min_tokens, 2) << "a default gives way to the request";
}

TEST_F(GenerationTest, RefusesSamplingFieldsOutOfRange) {
  const float nan = std::nanf("");
  EXPECT_EQ(Refusal({.prompt = "hi", .min_p = 1.5f}), "min_p is 1.5, want 0 to 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .min_p = nan}), "min_p is nan, want 0 to 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .typical_p = 0.0f}), "typical_p is 0, want more than 0 and at most 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .presence_penalty = 3.0f}), "presence_penalty is 3, want -2 to 2");
  EXPECT_EQ(Refusal({.prompt = "hi", .frequency_penalty = nan}), "frequency_penalty is nan, want -2 to 2");
  EXPECT_EQ(Refusal({.prompt = "hi", .repetition_penalty = 0.0f}), "repetition_penalty is 0, want 0.01 to 100");
  EXPECT_EQ(Refusal({.prompt = "hi", .logprobs = 21}), "logprobs is 21, want 0 to 20");
  EXPECT_EQ(Refusal({.prompt = "hi", .prompt_logprobs = -1}), "prompt_logprobs is -1, want 0 to 20");
  EXPECT_EQ(Refusal({.prompt = "hi", .max_tokens = 5, .min_tokens = 6}), "min_tokens is 6, want 0 to 5");
}

TEST_F(GenerationTest, RefusesTokenRules) {
  EXPECT_EQ(Refusal({.prompt = "hi", .logit_bias = {{3, std::nanf("")}}}),
            "logit_bias of token 3 is nan, want -100 to 100");
  EXPECT_EQ(Refusal({.prompt = "hi", .logit_bias = {{257, 1}}}),
            "logit_bias' token is 257, want a token id of the model: 0 to 256");
  EXPECT_EQ(Refusal({.prompt = "hi", .logit_bias = std::vector<TokenBias>(1025)}),
            "logit_bias has 1025 entries, want at most 1024");
  EXPECT_EQ(Refusal({.prompt = "hi", .allowed_token_ids = {0, -1}}),
            "allowed_token_ids[1] is -1, want a token id of the model: 0 to 256");
  EXPECT_EQ(Refusal({.prompt = "hi", .bad_words = {"a", ""}}), "bad_words[1] is empty, want a string");
  EXPECT_EQ(Refusal({.prompt = "hi", .bad_words = std::vector<std::string>(257, "a")}),
            "bad_words has 257 entries, want at most 256");
  EXPECT_EQ(Refusal({.prompt = "hi", .bad_words = {"\xff"}}), "bad_words[0] is not UTF-8: byte 0xff at offset 0");
  EXPECT_EQ(Refusal({.prompt = "hi", .bad_token_sequences = {{}}}),
            "bad_token_sequences[0] has no token, want at least 1");
  EXPECT_EQ(Refusal({.prompt = "hi", .bad_token_sequences = {{1, 999}}}),
            "bad_token_sequences[0] is 999, want a token id of the model: 0 to 256");
}

TEST_F(GenerationTest, BadWordsBecomeTokensBareAndBehindASpace) {
  const auto request = Resolve({.prompt = "hi", .bad_words = {"ab"}, .bad_token_sequences = {{9}}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->sampling.rules->bad_words,
              ElementsAre(ElementsAre('a' + 1, 'b' + 1), ElementsAre(' ' + 1, 'a' + 1, 'b' + 1), ElementsAre(9)));
}

TEST_F(GenerationTest, TheModelsBadWordsAreThoseOfRequestsThatBringNone) {
  defaults_.bad_token_sequences = {{7, 8}, {5, 4000}};  // the second is never drawn
  const auto theirs = Resolve({.prompt = "hi"});
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_THAT(theirs->sampling.rules->bad_words, ElementsAre(ElementsAre(7, 8)));
  const auto own = Resolve({.prompt = "hi", .bad_token_sequences = {{9}}});
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_THAT(own->sampling.rules->bad_words, ElementsAre(ElementsAre(9)));
}

TEST_F(GenerationTest, CompletionsAndGuessesAreCheckedAndPassedOn) {
  const auto request = Resolve({.prompt = "hi", .n = 128, .prompt_lookup_tokens = 32});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->num_completions, 128);
  EXPECT_EQ(request->max_drafts, 32);
  const auto unset = Resolve({.prompt = "hi"});
  EXPECT_EQ(unset->num_completions, 1);
  EXPECT_FALSE(unset->max_drafts.has_value());
  EXPECT_EQ(Refusal({.prompt = "hi", .n = 0}), "n is 0, want 1 to 128");
  EXPECT_EQ(Refusal({.prompt = "hi", .n = 129}), "n is 129, want 1 to 128");
  EXPECT_EQ(Refusal({.prompt = "hi", .prompt_lookup_tokens = 33}), "prompt_lookup_tokens is 33, want 0 to 32");
}

TEST_F(GenerationTest, RequestsWithoutRulesCarryNone) {
  EXPECT_EQ(Resolve({.prompt = "hi"})->sampling.rules, nullptr);
}

TEST_F(GenerationTest, ChatWithoutATemplateIsAFailedPrecondition) {
  const auto request = Resolve({.prompt = std::vector<ChatMessage>{{"user", "hi"}}});
  EXPECT_EQ(request.status(),
            absl::FailedPreconditionError("the model has no chat template, want a prompt of text or tokens"));
}

}  // namespace
}  // namespace tandem
