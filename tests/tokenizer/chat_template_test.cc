#include "tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/test_files.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

absl::StatusOr<RenderedChat> Render(const std::string& source, const OrderedJson& variables = OrderedJson::object()) {
  auto parsed = ChatTemplate::Parse(source, Json{{"bos_token", "<s>"}});
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(variables);
}

std::string Message(const absl::StatusOr<RenderedChat>& rendered) {
  return std::string(rendered.status().message());
}

TEST(ChatTemplateTest, SpecialTokensAreBoundAndVariablesOverrideThem) {
  EXPECT_EQ(Render("{{ bos_token }}")->text, "<s>");
  EXPECT_EQ(Render("{{ bos_token }}", {{"bos_token", "B"}})->text, "B");
}

TEST(ChatTemplateTest, KeysKeepTheirOrder) {
  const auto tools = OrderedJson::parse(R"({"z": 1, "a": {"y": 2, "b": 3}})");
  EXPECT_EQ(Render("{{ tools | tojson }}", {{"tools", tools}})->text, R"({"z": 1, "a": {"y": 2, "b": 3}})");
}

TEST(ChatTemplateTest, NullsInMessagesAreMissingKeys) {
  const auto messages = OrderedJson::parse(R"([{"role": "a", "content": null}])");
  EXPECT_EQ(Render("{{ messages[0].content is defined }}{{ tools is none }}", {{"messages", messages}})->text,
            "FalseTrue");
}

TEST(ChatTemplateTest, ReasoningIsFoundUnderEachOfItsNames) {
  const auto messages = OrderedJson::parse(R"([{"role": "a", "reasoning": "r"}])");
  EXPECT_EQ(Render("{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", {{"messages", messages}})->text,
            "rr");
}

TEST(ChatTemplateTest, GenerationRangesAreBytesOfTheText) {
  const auto rendered = Render("é{% generation %}aé{% endgeneration %}b{% generation %}c{% endgeneration %}");
  EXPECT_EQ(rendered->text, "éaébc");
  EXPECT_THAT(rendered->generation_ranges, ElementsAre(Pair(2, 5), Pair(6, 7)));
}

TEST(ChatTemplateTest, KnowsWhetherItHasGenerationBlocks) {
  EXPECT_TRUE(
      ChatTemplate::Parse("{% generation %}{% endgeneration %}", Json::object()).value()->has_generation_blocks());
  EXPECT_FALSE(ChatTemplate::Parse("generation", Json::object()).value()->has_generation_blocks());
}

TEST(ChatTemplateTest, CapturedGenerationHasNoPlace) {
  EXPECT_THAT(Render("{% set x %}{% generation %}a{% endgeneration %}{% endset %}b{{ x }}")->generation_ranges,
              ElementsAre());
}

TEST(ChatTemplateTest, RaisedMessagesCarryLineAndColumn) {
  const auto rendered = Render("a\n  {{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(rendered), AllOf(HasSubstr("line 2, column 6"), HasSubstr("roles must alternate")));
}

TEST(ChatTemplateTest, ErrorsPointToTheInnermostExpression) {
  EXPECT_THAT(Message(Render("{% if true %}\n{{ 1 + (2 ~ (3 / 0)) }}{% endif %}")), HasSubstr("line 2, column 14"));
  EXPECT_THAT(Message(Render("{% macro m() %}\n\n{{ nothing.x }}{% endmacro %}{{ m() }}")), HasSubstr("line 3"));
}

TEST(ChatTemplateTest, SyntaxErrorsCarryLineAndColumn) {
  EXPECT_THAT(Message(Render("a\nb {{ 1 + }}")), HasSubstr("line 2, column 10: got '}}', want an expression"));
  EXPECT_THAT(Message(Render("{% if x %}\n")), HasSubstr("want 'endif'"));
}

TEST(ChatTemplateTest, UnknownNamesSuggestTheNearest) {
  EXPECT_THAT(Message(Render("{{ 'a' | uper }}")), HasSubstr("did you mean 'upper'"));
  EXPECT_THAT(Message(Render("{{ 1 is defind }}")), HasSubstr("did you mean 'defined'"));
  EXPECT_THAT(Message(Render("{% fro x in y %}")), HasSubstr("did you mean 'for'"));
}

TEST(ChatTemplateTest, IncludesAndBlocksAreRefusedByName) {
  EXPECT_THAT(Message(Render("{% include 'x' %}")), HasSubstr("unknown tag 'include'"));
}

TEST(ChatTemplateTest, LoadPrefersTheTemplateFile) {
  const TestDirectory directory;
  directory.Write("chat_template.jinja", "file {{ eos_token }}");
  directory.Write("tokenizer_config.json", R"({"chat_template": "config", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(ChatTemplate::Load(directory.path()).value()->Render(Json::object())->text, "file </s>");
}

TEST(ChatTemplateTest, LoadTakesTheDefaultOfSeveralTemplates) {
  const TestDirectory directory;
  directory.Write("tokenizer_config.json", R"({"bos_token": null, "chat_template": [
      {"name": "tool_use", "template": "t"}, {"name": "default", "template": "d{{ bos_token }}"}]})");
  EXPECT_EQ(ChatTemplate::Load(directory.path()).value()->Render(Json::object())->text, "d");
}

TEST(ChatTemplateTest, AModelWithoutATemplateIsNotFound) {
  const TestDirectory directory;
  EXPECT_EQ(ChatTemplate::Load(directory.path()).status().code(), absl::StatusCode::kNotFound);
  directory.Write("tokenizer_config.json", "{}");
  EXPECT_EQ(ChatTemplate::Load(directory.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(ChatTemplateTest, LoadNamesTheFileOfABrokenTemplate) {
  const TestDirectory directory;
  directory.Write("chat_template.jinja", "{{");
  const auto loaded = ChatTemplate::Load(directory.path());
  EXPECT_THAT(std::string(loaded.status().message()), AllOf(HasSubstr("chat_template.jinja"), HasSubstr("line 1")));
  directory.Write("chat_template.jinja", "\xFF");
  EXPECT_THAT(std::string(ChatTemplate::Load(directory.path()).status().message()), HasSubstr("not UTF-8 at byte 0"));
}

TEST(ChatTemplateTest, VariablesMustBeUtf8AndFit64Bits) {
  EXPECT_THAT(Message(Render("", {{"x", "\xFF"}})), HasSubstr("not UTF-8 at byte 0"));
  EXPECT_THAT(Message(Render("", {{"x", UINT64_MAX}})), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Message(Render("", OrderedJson::array())), HasSubstr("want an object"));
}

// What would run forever, fill the memory or overflow the stack ends with RESOURCE_EXHAUSTED (or is refused by the
// parser).
class ChatTemplateBoundTest : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(ChatTemplateBoundTest, EndsWithAStatus) {
  const auto rendered = Render(GetParam().second);
  ASSERT_FALSE(rendered.ok()) << rendered->text.size();
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kResourceExhausted) << rendered.status();
}

INSTANTIATE_TEST_SUITE_P(
    All, ChatTemplateBoundTest,
    ::testing::Values(
        std::pair{"NestedLoops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"},
        std::pair{"Output", "{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}"},
        std::pair{"Recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
        std::pair{"MutualRecursion",
                  "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"},
        std::pair{"RepeatedString", "{{ 'x' * 1000000000000 }}"},
        std::pair{"RepeatedList", "{{ [1] * 1000000000000 }}"},
        std::pair{"DoublingString",
                  "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"},
        std::pair{"DoublingList",
                  "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}"},
        std::pair{
            "SharedLists",
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}"},
        std::pair{"DeepList",
                  "{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}"},
        std::pair{"GrowingReplace",
                  "{% set n = namespace(s='aa') %}{% for i in range(60) %}"
                  "{% set n.s = n.s.replace('a', 'aaaaaaaa') %}{% endfor %}"},
        std::pair{"GrowingJoin",
                  "{% set n = namespace(s='aaaa') %}{% for i in range(60) %}"
                  "{% set n.s = n.s.join(['b', n.s, n.s]) %}{% endfor %}"},
        std::pair{"HugeIndent", "{{ ('a\n' * 100000) | indent(100000) }}"},
        std::pair{"HugeWidth", "{{ 'a'.center(100000000000) }}"},
        std::pair{"QuadraticSearch", "{% set a = 'a' * 4000000 %}{{ (a[:2000000] ~ 'b') in a }}"}),
    [](const auto& info) { return info.param.first; });

TEST(ChatTemplateTest, CyclesThroughNamespacesAndMacrosAreFreed) {
  // The leak checker of the ASan build sees them if they are not.
  const auto rendered = Render(
      "{% set ns = namespace() %}{% set ns.self = ns %}{% macro m() %}{{ ns.m is defined }}{% endmacro %}{% set ns.m = "
      "m %}"
      "{% for i in [1] %}{% set ns.loop = loop %}{% endfor %}{{ m() }}{{ ns.loop.last }}");
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(rendered->text, "TrueTrue");
}

TEST(ChatTemplateTest, DeepNestingIsRefusedByTheParser) {
  EXPECT_FALSE(Render("{{ " + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}").ok());
  EXPECT_FALSE(Render("{{ " + std::string(100000, '-') + "1 }}").ok());
  EXPECT_FALSE(Render("{{ " + std::string(100000, '[') + std::string(100000, ']') + " }}").ok());
  std::string chain = "{{ 1";
  for (int i = 0; i < 100000; ++i) chain += " + 1";
  EXPECT_FALSE(Render(chain + " }}").ok());
  std::string blocks;
  for (int i = 0; i < 100000; ++i) blocks += "{% if true %}";
  EXPECT_FALSE(Render(blocks).ok());
  std::string targets = "{% for " + std::string(100000, '(') + "a in b %}{% endfor %}";
  EXPECT_FALSE(Render(targets).ok());
}

TEST(ChatTemplateTest, AThousandMessagesRenderWithinTheBounds) {
  OrderedJson messages = OrderedJson::array();
  for (int i = 0; i < 1000; ++i) {
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(2000, 'a' + i % 26)}});
  }
  const auto parsed = ChatTemplate::Parse(ReadGoldenText("templates/qwen3.jinja"), Json::object()).value();
  const auto rendered = parsed->Render({{"messages", messages}, {"add_generation_prompt", true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_GT(rendered->text.size(), 2000u * 1000u);
}

}  // namespace
}  // namespace tandem
