// Labels against goldens of transformers (golden/make.py), and every refusal of a file.
#include "training/dataset.h"

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tandem/batch.h"
#include "training/fake_tokenizer.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr int32_t kIgnored = kIgnoredLabel;
constexpr int32_t kBegin = 256, kUser = 257, kAssistant = 258, kEnd = 259;

// <b> <u>hello<e> <a>yes<e>
constexpr const char* kTemplate =
    "{{ bos }}{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}<e>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}";

class DatasetTest : public ::testing::Test {
 protected:
  absl::StatusOr<Dataset> Load(std::string_view data, const std::string& chat_template = kTemplate) {
    std::unique_ptr<ChatTemplate> parsed;
    if (!chat_template.empty()) {
      auto result = ChatTemplate::Parse(chat_template, {{"bos", "<b>"}});
      EXPECT_TRUE(result.ok()) << result.status();
      parsed = std::move(*result);
    }
    return LoadDataset(data, tokenizer_, parsed.get(), options_);
  }

  std::string ErrorOf(std::string_view data, const std::string& chat_template = kTemplate) {
    const absl::Status status = Load(data, chat_template).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  FakeTokenizer tokenizer_{{"<b>", "<u>", "<a>", "<e>"}, /*bos=*/"<b>"};
  DatasetOptions options_{
      .name = "train.jsonl", .end_token = kEnd, .loss_mask = LossMask::kCompletion, .max_length = 100};
};

TEST_F(DatasetTest, ARowsLabelIsTheNextTokenWhereThatIsLearned) {
  const auto dataset = Load(R"({"prompt": "pq", "completion": "xy"})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->samples.size(), 1u);
  const Sample& sample = dataset->samples[0];
  EXPECT_THAT(sample.tokens, ElementsAre(kBegin, 'p', 'q', 'x', 'y'));
  EXPECT_THAT(sample.labels, ElementsAre(kIgnored, kIgnored, 'x', 'y', kEnd));
  EXPECT_EQ(sample.num_learned, 3);
  EXPECT_EQ(dataset->num_tokens, 6);
  EXPECT_EQ(dataset->num_learned, 3);
  EXPECT_EQ(dataset->max_rows, 5);
}

TEST_F(DatasetTest, TextIsLearnedAfterItsFirstToken) {
  const auto dataset = Load(R"({"text": "xy"})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->samples[0].tokens, ElementsAre(kBegin, 'x', 'y'));
  EXPECT_THAT(dataset->samples[0].labels, ElementsAre('x', 'y', kEnd));
}

TEST_F(DatasetTest, AModelWithoutAnEndTokenGetsNone) {
  options_.end_token = std::nullopt;
  const auto dataset = Load(R"({"text": "xy"})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->samples[0].labels, ElementsAre('x', 'y'));
}

TEST_F(DatasetTest, RowsAfterTheLastLearnedTokenAreLeftOut) {
  const auto dataset = Load(
      R"({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "q"}]})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->samples[0].tokens, ElementsAre(kBegin, kUser, 'p', kEnd, kAssistant, 'x'));
  EXPECT_THAT(dataset->samples[0].labels, ElementsAre(kIgnored, kIgnored, kIgnored, kIgnored, 'x', kEnd));
  EXPECT_EQ(dataset->num_tokens, 10);
}

TEST_F(DatasetTest, MaskAllLearnsPromptsToo) {
  options_.loss_mask = LossMask::kAll;
  const auto dataset = Load(
      "{\"prompt\": \"p\", \"completion\": \"x\"}\n"
      R"({"messages": [{"role": "user", "content": "p"}]})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->samples[0].labels, ElementsAre('p', 'x', kEnd));
  EXPECT_THAT(dataset->samples[1].labels, ElementsAre(kUser, 'p', kEnd));
}

TEST_F(DatasetTest, LongSamplesAreCutAndCounted) {
  options_.max_length = 4;
  const auto dataset = Load("{\"text\": \"abcdef\"}\n{\"text\": \"ab\"}");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->samples[0].tokens, ElementsAre(kBegin, 'a', 'b'));
  EXPECT_THAT(dataset->samples[0].labels, ElementsAre('a', 'b', 'c'));
  EXPECT_THAT(dataset->samples[1].labels, ElementsAre('a', 'b', kEnd));
  EXPECT_EQ(dataset->num_truncated, 1);
  EXPECT_EQ(dataset->num_tokens, 8);
}

TEST_F(DatasetTest, FormatsMayBeMixedLineByLine) {
  const auto dataset = Load(
      "{\"text\": \"a\"}\n{\"prompt\": \"b\", \"completion\": \"c\"}\n"
      R"({"messages": [{"role": "assistant", "content": "d"}]})");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->samples.size(), 3u);
}

TEST_F(DatasetTest, BlankLinesCountButHoldNothing) {
  const auto dataset = Load("\xEF\xBB\xBF\n \t\r\n{\"text\": \"a\"}\r\n\n{\"text\": \"b\"}\n");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->samples.size(), 2u);
  EXPECT_EQ(dataset->samples[0].line, 3);
  EXPECT_EQ(dataset->samples[1].line, 5);
}

TEST_F(DatasetTest, AFileWithoutSamplesIsRefused) {
  EXPECT_EQ(ErrorOf(""), "train.jsonl: no samples");
  EXPECT_EQ(ErrorOf(" \n\n"), "train.jsonl: no samples");
}

TEST_F(DatasetTest, BadLinesAreNamedByLineAndColumn) {
  EXPECT_THAT(ErrorOf("{\"text\": \"a\"}\n\n{\"text\" 3}\n{\"txt\": \"a\"}"),
              ::testing::MatchesRegex("train.jsonl:3:9: malformed JSON: .*\n"
                                      "train.jsonl:4:2: unknown key 'txt'; did you mean 'text'.*"));
}

TEST_F(DatasetTest, OnlyTheFirstTenBadLinesAreSpelledOut) {
  std::string data;
  for (int i = 0; i < 25; ++i) data += "{\"text\": \"\"}\n{\"text\": \"good\"}\n";
  const std::string error = ErrorOf(data);
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 10);
  EXPECT_THAT(error, HasSubstr("train.jsonl:19:2: text is empty\n"));
  EXPECT_THAT(error, EndsWith("\nand 15 more bad lines"));
}

TEST_F(DatasetTest, AReportOfLongReasonsStaysShort) {
  std::string data;
  for (int i = 0; i < 25; ++i) data += "{\"" + std::string(100'000, 'k') + "\": 1}\n";
  const std::string error = ErrorOf(data);
  EXPECT_LT(error.size(), 3000u);
  EXPECT_THAT(error, HasSubstr("train.jsonl:9:2: unknown key 'kkk"));
  EXPECT_THAT(error, EndsWith("\nand 15 more bad lines"));
}

TEST_F(DatasetTest, ASampleWithNothingToLearnIsRefused) {
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user", "content": "p"}]})"),
            "train.jsonl:1:1: nothing to learn: none of 4 tokens is the assistant's");
}

TEST_F(DatasetTest, ASampleOfOneTokenIsRefused) {
  options_.end_token = std::nullopt;
  const FakeTokenizer without_begin({});
  const absl::Status status =
      LoadDataset(R"({"prompt": "", "completion": "x"})", without_begin, nullptr, options_).status();
  EXPECT_EQ(status.message(), "train.jsonl:1:1: nothing to learn: 1 token(s), want at least 2");
}

TEST_F(DatasetTest, ASampleWhoseLearnedTokensAreAllCutOffIsRefused) {
  options_.max_length = 3;
  EXPECT_EQ(ErrorOf(R"({"prompt": "pqr", "completion": "x"})"),
            "train.jsonl:1:1: no learned token is left of 6 after cutting at max_length 3");
}

TEST_F(DatasetTest, MessagesNeedAChatTemplate) {
  EXPECT_THAT(ErrorOf(R"({"messages": [{"role": "user", "content": "p"}]})", ""),
              HasSubstr("train.jsonl:1:1: messages need a chat template and the model has none"));
}

TEST_F(DatasetTest, ATemplatesOwnRefusalIsPassedOn) {
  EXPECT_THAT(ErrorOf(R"({"messages": [{"role": "user", "content": "p"}]})", "{{ raise_exception('no users') }}"),
              HasSubstr("train.jsonl:1:1: the chat template refuses the messages: "));
}

TEST_F(DatasetTest, ATemplateThatRewritesEarlierTurnsCannotBeMasked) {
  const std::string forgetful =
      "{% for m in messages %}<{{ m.role[0] }}>{% if loop.last %}{{ m.content }}{% endif %}<e>{% endfor %}";
  const std::string data = R"({"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "p"}]})";
  EXPECT_THAT(ErrorOf(data, forgetful), HasSubstr("renders the text before messages[0] differently"));
  options_.loss_mask = LossMask::kAll;
  EXPECT_TRUE(Load(data, forgetful).ok());
}

class GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = std::string(TANDEM_SOURCE_DIR) + "/tests/training/golden/";
    const auto text = ReadFile(directory + "chats.json");
    ASSERT_TRUE(text.ok()) << text.status();
    goldens_ = *ParseJson(*text);
    auto tokenizer = Tokenizer::Load(directory + "tokenizer");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = std::move(*tokenizer);
    auto chat_template = ChatTemplate::Load(directory + "tokenizer");
    ASSERT_TRUE(chat_template.ok()) << chat_template.status();
    chat_template_ = std::move(*chat_template);
  }

  void ExpectGolden(const Json& golden, const Json& line, const ChatTemplate* chat_template) const {
    const DatasetOptions options{.name = "golden",
                                 .end_token = goldens_["end_token"].get<int32_t>(),
                                 .loss_mask = LossMask::kAssistant,
                                 .max_length = 1000};
    const auto dataset = LoadDataset(line.dump(), *tokenizer_, chat_template, options);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const auto tokens = golden["tokens"].get<std::vector<int32_t>>();
    const auto mask = golden["mask"].get<std::vector<int>>();
    std::vector<int32_t> labels;
    size_t num_rows = 0;
    for (size_t i = 1; i < tokens.size(); ++i) {
      labels.push_back(mask[i] ? tokens[i] : kIgnored);
      if (mask[i]) num_rows = i;
    }
    labels.resize(num_rows);
    EXPECT_EQ(dataset->samples[0].tokens, std::vector<int32_t>(tokens.begin(), tokens.begin() + num_rows)) << line;
    EXPECT_EQ(dataset->samples[0].labels, labels) << line;
    EXPECT_EQ(dataset->num_tokens, tokens.size());
  }

  Json goldens_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
};

TEST_F(GoldenTest, GenerationBlocksMaskChatsAsTransformersDoes) {
  ASSERT_TRUE(chat_template_->has_generation_blocks());
  for (const Json& golden : goldens_["chats"]) {
    ExpectGolden(golden["generation"], {{"messages", golden["messages"]}}, chat_template_.get());
  }
}

TEST_F(GoldenTest, WithoutSuchBlocksPrefixesOfTheConversationGiveTheMask) {
  const auto plain = ChatTemplate::Parse(goldens_["plain_template"].get<std::string>(), {{"bos_token", "<|begin|>"}});
  ASSERT_TRUE(plain.ok()) << plain.status();
  ASSERT_FALSE((*plain)->has_generation_blocks());
  for (const Json& golden : goldens_["chats"]) {
    ExpectGolden(golden["plain"], {{"messages", golden["messages"]}}, plain->get());
  }
}

TEST_F(GoldenTest, PromptsAndCompletionsAreTokenizedApart) {
  for (const Json& golden : goldens_["completions"]) {
    ExpectGolden(golden, {{"prompt", golden["prompt"]}, {"completion", golden["completion"]}}, nullptr);
  }
}

}  // namespace
}  // namespace tandem
