// Renderings equal those of jinja2 in transformers' environment (tests/golden/tokenizer/make.py).
#include <gtest/gtest.h>

#include "absl/time/civil_time.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/test_files.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

absl::Time GoldenTime() {
  return absl::FromCivil(absl::CivilSecond(2024, 7, 26, 12, 34, 56), absl::LocalTimeZone()) + absl::Milliseconds(789);
}

const ordered_json& Goldens() {
  static const auto* const kGoldens = new ordered_json(ReadGolden("chats.json"));
  return *kGoldens;
}

absl::StatusOr<RenderedChat> Render(const std::string& source, const ordered_json& variables) {
  auto parsed = ChatTemplate::Parse(source, Json(Goldens()["special_tokens"]));
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(variables, GoldenTime());
}

class ChatTemplateGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ChatTemplateGoldenTest, RendersEveryConversation) {
  const std::string source = ReadGoldenText("templates/" + GetParam() + ".jinja");
  for (const auto& [name, expected] : Goldens()["templates"][GetParam()].items()) {
    const auto rendered = Render(source, Goldens()["conversations"][name]);
    if (expected.contains("error")) {
      EXPECT_FALSE(rendered.ok()) << name << ": want " << expected["error"] << ", got " << rendered->text;
      continue;
    }
    ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.status();
    EXPECT_EQ(rendered->text, expected["text"].get<std::string>()) << name;
    std::vector<std::pair<size_t, size_t>> ranges;  // in characters
    for (const auto& [begin, end] : rendered->generation_ranges) {
      const std::string_view text = rendered->text;
      ranges.emplace_back(CountCodePoints(text.substr(0, begin)), CountCodePoints(text.substr(0, end)));
    }
    EXPECT_EQ(ordered_json(ranges), expected.value("ranges", ordered_json::array())) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChatTemplateGoldenTest,
                         ::testing::Values("alpaca", "chatml", "chatml_generation", "command_r", "deepseek", "falcon3",
                                           "gemma2", "gemma3", "glm4", "gpt_oss", "granite", "hermes_tools",
                                           "internlm_vision", "llama2", "llama3", "llama31_tools", "mistral_tools",
                                           "mistral_v1", "olmo_call", "phi3", "phi4", "qwen25", "qwen3", "smollm3",
                                           "vicuna", "zephyr"),
                         [](const auto& info) { return info.param; });

TEST(ChatTemplateSnippetTest, MeansWhatJinja2Means) {
  for (const ordered_json& snippet : Goldens()["snippets"]) {
    const std::string source = snippet["source"];
    const auto rendered = Render(source, Goldens()["variables"]);
    if (snippet.contains("error")) {
      EXPECT_FALSE(rendered.ok()) << source << "\nwant " << snippet["error"] << "\ngot " << rendered->text;
      if (!rendered.ok()) {
        EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << rendered.status();
        EXPECT_NE(rendered.status().message().find("line "), std::string::npos) << rendered.status();
      }
      continue;
    }
    EXPECT_TRUE(rendered.ok()) << source << "\n" << rendered.status();
    if (rendered.ok()) {
      EXPECT_EQ(rendered->text, snippet["text"].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace tandem
