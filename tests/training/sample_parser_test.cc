#include "training/sample_parser.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorOf(std::string_view line) {
  const auto sample = ParseSample(line);
  EXPECT_EQ(sample.status().code(), absl::StatusCode::kInvalidArgument) << line;
  return std::string(sample.status().message());
}

TEST(ParseSample, ReadsMessages) {
  const auto sample =
      ParseSample(R"({"messages": [{"role": "user", "content": "Hi"}, {"content": "Ho", "role": "assistant"}]})");
  ASSERT_TRUE(sample.ok()) << sample.status();
  const auto& chat = std::get<ChatSample>(*sample);
  ASSERT_EQ(chat.messages.size(), 2u);
  EXPECT_EQ(chat.messages[0].role, "user");
  EXPECT_EQ(chat.messages[0].content, "Hi");
  EXPECT_EQ(chat.messages[1].role, "assistant");
  EXPECT_EQ(chat.messages[1].content, "Ho");
}

TEST(ParseSample, ReadsPromptAndCompletion) {
  const auto sample = ParseSample(R"({"prompt": "", "completion": "a\nb"})");
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(std::get<CompletionSample>(*sample).prompt, "");
  EXPECT_EQ(std::get<CompletionSample>(*sample).completion, "a\nb");
}

TEST(ParseSample, ReadsText) {
  const auto sample = ParseSample("{\"text\": \"\xC3\xA9\"}\r");
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(std::get<TextSample>(*sample).text, "\xC3\xA9");
}

TEST(ParseSample, MalformedJsonIsRefusedWithItsColumn) {
  EXPECT_THAT(ErrorOf(R"({"text": "a")"), StartsWith("13: malformed JSON: syntax error while parsing object"));
  EXPECT_THAT(ErrorOf(R"({"text" "a"})"), StartsWith("11: malformed JSON: "));
  EXPECT_THAT(ErrorOf(R"({"text": "a"} x)"), StartsWith("15: malformed JSON: "));
}

TEST(ParseSample, ColumnsCountCharactersNotBytes) {
  EXPECT_THAT(ErrorOf("{\"text\": \"\xF0\x9F\x99\x82\xC3\xA9\" x}"), StartsWith("15: malformed JSON: "));
}

TEST(ParseSample, ALongMalformedLineIsNotRepeatedWhole) {
  EXPECT_LT(ErrorOf("{\"text\": \"" + std::string(100'000, 'a')).size(), 400u);
}

TEST(ParseSample, JsonNestedTooDeepIsRefused) {
  EXPECT_THAT(ErrorOf(std::string(10'000, '[')), HasSubstr("nested deeper"));
}

TEST(ParseSample, InvalidUtf8IsRefusedWithItsColumnAndByte) {
  EXPECT_EQ(ErrorOf("{\"text\": \"\xC3\xA9\xFF\"}"), "12: invalid UTF-8: byte 0xff");
}

TEST(ParseSample, ALineThatIsNoObjectIsRefused) {
  EXPECT_EQ(ErrorOf(" [1]"), R"(2: an array, want {"messages"}, {"prompt", "completion"} or {"text"})");
  EXPECT_EQ(ErrorOf("{}"), R"(1: an empty object, want {"messages"}, {"prompt", "completion"} or {"text"})");
}

TEST(ParseSample, AnUnknownKeyIsRefusedWithTheNearest) {
  EXPECT_EQ(ErrorOf(R"({"completion": "b", "promt": "a"})"), "21: unknown key 'promt'; did you mean 'prompt'?");
  EXPECT_EQ(ErrorOf(R"({"quite_other": 1})"),
            "2: unknown key 'quite_other'; known: messages, prompt, completion, text");
}

TEST(ParseSample, KeysOfTwoFormatsInOneLineAreRefused) {
  EXPECT_EQ(ErrorOf(R"({"text": "a", "prompt": "b", "completion": "c"})"),
            R"(2: 'prompt' and 'text' in one line, want {"messages"}, {"prompt", "completion"} or {"text"})");
}

TEST(ParseSample, AMissingKeyIsNamed) {
  EXPECT_EQ(ErrorOf(R"({"prompt": "a"})"), "1: completion is missing, want a string");
  EXPECT_EQ(ErrorOf(R"({"completion": "a"})"), "1: prompt is missing, want a string");
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user"}]})"), "15: messages[0].content is missing, want a string");
}

TEST(ParseSample, AWrongTypeIsRefusedWithItsKey) {
  EXPECT_EQ(ErrorOf(R"({"text": 3})"), "2: text is the number 3, want a string");
  EXPECT_EQ(ErrorOf(R"({"prompt": "a", "completion": null})"), "17: completion is null, want a string");
  EXPECT_EQ(ErrorOf(R"({"messages": "a"})"), "2: messages is the string 'a', want an array");
  EXPECT_EQ(ErrorOf(R"({"messages": [7]})"), R"(15: messages[0] is the number 7, want {"role", "content"})");
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user", "content": []}]})"),
            "32: messages[0].content is an array, want a string");
}

TEST(ParseSample, AnUnknownRoleIsRefusedWithTheNearest) {
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "asistant", "content": "a"}]})"),
            "16: unknown role 'asistant'; did you mean 'assistant'?");
}

TEST(ParseSample, AnUnknownKeyOfAMessageIsRefused) {
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user", "contents": "a"}]})"),
            "32: unknown key 'contents' in messages[0]; did you mean 'content'?");
}

TEST(ParseSample, EmptySamplesAreRefused) {
  EXPECT_EQ(ErrorOf(R"({"text": ""})"), "2: text is empty");
  EXPECT_EQ(ErrorOf(R"({"prompt": "a", "completion": ""})"), "17: completion is empty");
  EXPECT_EQ(ErrorOf(R"({"messages": []})"), "2: messages is empty, want at least one");
}

}  // namespace
}  // namespace tandem
