// Structured output from a request to its text: the demo model, the real engine, the front end's own handler.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/json.h"
#include "engine/engine.h"
#include "engine/recording.h"
#include "serve/core/generation.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr std::string_view kSchema = R"({"type":"object","properties":{
    "name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":1,"maximum":120},
    "kind":{"enum":["fox","owl"]},"tags":{"type":"array","items":{"type":"boolean"},"maxItems":3}},
    "required":["name","age","kind","tags"],"additionalProperties":false})";

class Sink final : public GenerationSink {
 public:
  void OnUpdate(GenerationUpdate update) override {
    tokens.insert(tokens.end(), update.token_ids.begin(), update.token_ids.end());
    text += update.text;
  }
  void OnEnd(GenerationEnd last) override {
    end = std::move(last);
    text += end.text;
    done_.Notify();
  }
  void Wait() { done_.WaitForNotification(); }

  std::vector<int32_t> tokens;
  std::string text;
  GenerationEnd end;

 private:
  absl::Notification done_;
};

class StructuredTest : public testing::Test {
 protected:
  StructuredTest() { Start(4096); }
  ~StructuredTest() override { std::filesystem::remove_all(directory_); }

  void Start(int kv_tokens) {
    handler_.reset();
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.threads = 2;
    options.kv_capacity_tokens = kv_tokens;
    options.adapters_directory = directory_;
    auto created = Engine::Create(options);
    ASSERT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    engine_->Start();
    const auto defaults = LoadGenerationDefaults(options.model_path);
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    ModelFrontEnd model{.tokenizer = &engine_->tokenizer(),
                        .chat_template = engine_->chat_template(),
                        .defaults = *defaults,
                        .max_context = engine_->max_context(),
                        .vocab = engine_->desc().vocab};
    handler_ = std::make_unique<GenerationHandler>(std::move(model), engine_.get(), [] { return uint64_t{1}; });
  }

  static GenerationInput Input(StructureKind kind, std::string_view text, uint64_t seed = 1) {
    GenerationInput input = Plain("Once upon a time", seed);
    input.structure = StructureInput{kind, std::string(text)};
    return input;
  }
  static GenerationInput Plain(const std::string& prompt, uint64_t seed = 1) {
    GenerationInput input;
    input.prompt = prompt;
    input.temperature = 1.0f;
    input.seed = seed;
    input.max_tokens = 200;
    return input;
  }

  std::shared_ptr<Sink> Send(const GenerationInput& input) {
    auto sink = std::make_shared<Sink>();
    absl::StatusOr<GenerateRequest> request = handler_->Resolve(input);
    EXPECT_TRUE(request.ok()) << request.status();
    const absl::Status status = handler_->Start(*std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }
  std::string TextOf(const GenerationInput& input) {
    const auto sink = Send(input);
    sink->Wait();
    EXPECT_TRUE(sink->end.status.ok()) << sink->end.status;
    EXPECT_EQ(sink->end.reason, FinishReason::kStop) << sink->text;
    return sink->text;
  }
  std::string Refusal(const GenerationInput& input) { return std::string(handler_->Resolve(input).status().message()); }

  const std::string directory_ =
      (std::filesystem::path(testing::TempDir()) / absl::StrCat("structured_test.", getpid())).string();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<GenerationHandler> handler_;
};

void ExpectFits(const std::string& text) {
  const absl::StatusOr<Json> json = ParseJson(text);
  ASSERT_TRUE(json.ok()) << json.status() << ": " << text;
  EXPECT_TRUE((*json)["name"].is_string()) << text;
  EXPECT_TRUE((*json)["age"].is_number_integer() && (*json)["age"] >= 1 && (*json)["age"] <= 120) << text;
  EXPECT_TRUE((*json)["kind"] == "fox" || (*json)["kind"] == "owl") << text;
  EXPECT_TRUE((*json)["tags"].is_array() && (*json)["tags"].size() <= 3) << text;
  EXPECT_EQ(json->size(), 4u) << text;
}

TEST_F(StructuredTest, TextsFitTheSchemaAndOthersInTheBatchAreUnchanged) {
  std::vector<std::shared_ptr<Sink>> alone, beside, structured;
  for (const char* prompt : {"Tom wanted a red kite", "There once was a fox"}) {
    alone.push_back(Send(Plain(prompt)));
    alone.back()->Wait();
  }
  for (uint64_t seed = 0; seed < 8; ++seed) {
    structured.push_back(Send(Input(StructureKind::kJsonSchema, kSchema, seed)));
    if (seed == 2) beside.push_back(Send(Plain("Tom wanted a red kite")));
    if (seed == 5) beside.push_back(Send(Plain("There once was a fox")));
  }
  for (const auto& sink : structured) {
    sink->Wait();
    ASSERT_TRUE(sink->end.status.ok()) << sink->end.status;
    EXPECT_EQ(sink->end.reason, FinishReason::kStop) << sink->text;
    ExpectFits(sink->text);
  }
  for (size_t i = 0; i < beside.size(); ++i) {
    beside[i]->Wait();
    EXPECT_EQ(beside[i]->tokens, alone[i]->tokens);
  }
}

TEST_F(StructuredTest, TheSameSeedGivesTheSameTextWhenPreempted) {
  std::vector<std::string> want;
  for (uint64_t seed = 0; seed < 8; ++seed) want.push_back(TextOf(Input(StructureKind::kJsonSchema, kSchema, seed)));
  Start(/*kv_tokens=*/256);  // of one of them at its longest, and little more
  std::vector<std::shared_ptr<Sink>> sinks;
  {
    const StepHold together(*engine_);
    for (uint64_t seed = 0; seed < 8; ++seed) sinks.push_back(Send(Input(StructureKind::kJsonSchema, kSchema, seed)));
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    sinks[i]->Wait();
    EXPECT_TRUE(sinks[i]->end.status.ok()) << sinks[i]->end.status;
    EXPECT_EQ(sinks[i]->text, want[i]);
  }
  EXPECT_GT(engine_->GetStatus().preemptions, 0);
}

TEST_F(StructuredTest, ExpressionsAndGrammarsAreMatchedWhole) {
  EXPECT_THAT(TextOf(Input(StructureKind::kRegex, "(ab|cd){2}-[0-9]{3}")), testing::MatchesRegex("[abcd]+-[0-9]+"));
  EXPECT_THAT(TextOf(Input(StructureKind::kGrammar, "root ::= \"yes\" | \"no\"")), testing::AnyOf("yes", "no"));
}

TEST_F(StructuredTest, AnyObjectIsAnObjectUnlessTheTokensEnd) {
  GenerationInput input = Input(StructureKind::kJsonObject, "");
  input.max_tokens = 1;
  const auto sink = Send(input);
  sink->Wait();
  EXPECT_EQ(sink->end.reason, FinishReason::kLength);
  EXPECT_EQ(sink->text.substr(0, 1), "{");
}

TEST_F(StructuredTest, ACompleteTextEndsThoughNoEndTokenMayBeDrawn) {
  GenerationInput input = Input(StructureKind::kRegex, "a");
  input.min_tokens = 5;
  EXPECT_EQ(TextOf(input), "a");
}

TEST_F(StructuredTest, ACompleteTextMayGoOnOrEnd) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const std::string text = TextOf(Input(StructureKind::kRegex, "[ab]{1,20}", seed));
    EXPECT_TRUE(!text.empty() && text.size() <= 20 && text.find_first_not_of("ab") == text.npos) << text;
  }
}

TEST_F(StructuredTest, WhatIsWrongIsRefusedWithItsPlace) {
  EXPECT_THAT(Refusal(Input(StructureKind::kJsonSchema, R"({"properties":{"a":{"not":{}}}})")),
              HasSubstr("json_schema: at #/properties/a: 'not' is not supported"));
  EXPECT_THAT(Refusal(Input(StructureKind::kRegex, "a(?=b)")), HasSubstr("regex: line 1, column 2: lookaround"));
  EXPECT_THAT(Refusal(Input(StructureKind::kGrammar, "root ::= x")), HasSubstr("grammar: rule 'x' is not defined"));
  EXPECT_THAT(Refusal(Input(StructureKind::kRegex, "\xFF")), HasSubstr("regex is not UTF-8"));
  GenerationInput endless = Input(StructureKind::kJsonObject, "");
  endless.ignore_eos = true;
  EXPECT_THAT(Refusal(endless), HasSubstr("ignore_eos"));
}

}  // namespace
}  // namespace tandem
