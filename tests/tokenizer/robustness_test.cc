// Broken input gives a status, never a crash: mutated tokenizer.json files, mutated templates, random text. Seeded, so
// that a failure comes back.
#include <gtest/gtest.h>

#include <random>

#include "tokenizer/chat_template.h"
#include "tokenizer/test_files.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

// Values of every type, among them those that break careless readers.
const std::vector<ordered_json>& Odd() {
  static const auto* const kOdd = new std::vector<ordered_json>{nullptr,
                                                                true,
                                                                -1,
                                                                0,
                                                                1e300,
                                                                INT64_MIN,
                                                                UINT64_MAX,
                                                                "",
                                                                "ByteLevel",
                                                                "Sequence",
                                                                "\\p{",
                                                                "(?:a*)*",
                                                                ordered_json::array(),
                                                                ordered_json::object(),
                                                                {{"type", "Sequence"}},
                                                                {{"type", "Split"}},
                                                                {1, "a"},
                                                                1 << 22};
  return *kOdd;
}

void CollectNodes(ordered_json* node, std::vector<ordered_json*>* nodes) {
  nodes->push_back(node);
  int taken = 0;
  for (auto& child : *node) {
    if (!node->is_structured() || ++taken > 40) break;  // some of the vocabulary is enough
    CollectNodes(&child, nodes);
  }
}

// Replaces or removes up to three values anywhere in the document.
void Mutate(ordered_json* document, std::mt19937* random) {
  const int count = 1 + (*random)() % 3;
  for (int i = 0; i < count; ++i) {
    std::vector<ordered_json*> nodes;
    CollectNodes(document, &nodes);
    ordered_json& node = *nodes[(*random)() % nodes.size()];
    const uint32_t kind = (*random)() % 3;
    if (kind == 0 && node.is_object() && !node.empty()) {
      node.erase(std::next(node.begin(), (*random)() % node.size()).key());
    } else if (kind == 1 && node.is_array() && !node.empty()) {
      node.erase((*random)() % node.size());
    } else {
      node = Odd()[(*random)() % Odd().size()];
    }
  }
}

TEST(RobustnessTest, MutatedTokenizersLoadOrAreRefused) {
  std::mt19937 random(20240726);
  const std::vector<std::string> texts = {"Hello, world! 123", "<|begin|> Tool\n\n", "\u00e9\u4f60 \U0001F600 word"};
  int loaded = 0, refused = 0;
  for (const char* const name : {"starcoder", "llama3", "llama2", "gemma", "unigram_bytes", "nfd_lower_fused"}) {
    const ordered_json good = ordered_json::parse(ReadGoldenText(std::string("tokenizers/") + name + ".json"));
    for (int round = 0; round < 40; ++round) {
      ordered_json document = good;
      Mutate(&document, &random);
      const auto tokenizer = LoadTokenizer(document.dump());
      if (!tokenizer.ok()) {
        ++refused;
        EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << tokenizer.status();
        continue;
      }
      ++loaded;
      for (const std::string& text : texts) {
        const auto ids = (*tokenizer)->Encode(text, SpecialTokens::kAdd);
        if (ids.ok()) (*tokenizer)->Decode(*ids, true);
      }
    }
  }
  EXPECT_GT(loaded, 10);
  EXPECT_GT(refused, 10);
}

TEST(RobustnessTest, TruncatedTokenizersAreRefused) {
  const std::string good = ReadGoldenText("tokenizers/split_removed.json");
  for (size_t size = 0; size + 1 < good.size(); size += 97) {
    EXPECT_FALSE(LoadTokenizer(good.substr(0, size)).ok()) << size;
  }
}

TEST(RobustnessTest, MutatedTemplatesRenderOrAreRefused) {
  std::mt19937 random(19700101);
  const ordered_json goldens = ReadGolden("chats.json");
  const std::vector<std::string> pieces = {
      "{%", "%}", "{{",   "}}",   "-%}",       "{%-", "{#",          "#}",         "'",
      "\"", "(",  ")",    "[",    "]",         "|",   "{% endif %}", "{% else %}", "{% endfor %}",
      ".",  "~",  " if ", " in ", " is ",      "\\",  "{",           "}",          "not ",
      "1e", ":",  ",",    "=",    "{% raw %}", "\xC3"};
  for (const char* const name : {"llama31_tools", "qwen3", "gpt_oss", "falcon3", "olmo_call", "command_r"}) {
    const std::string good = ReadGoldenText(std::string("templates/") + name + ".jinja");
    for (int round = 0; round < 150; ++round) {
      std::string source = good;
      const int count = 1 + random() % 4;
      for (int i = 0; i < count; ++i) {
        const size_t at = random() % source.size();
        if (random() % 2 == 0) source.erase(at, random() % 20);
        source.insert(std::min(at, source.size()), pieces[random() % pieces.size()]);
      }
      const auto parsed = ChatTemplate::Parse(source, Json::object());
      if (!parsed.ok()) continue;
      for (const char* const conversation : {"tools", "calls"}) {
        (void)(*parsed)->Render(goldens["conversations"][conversation]);
      }
    }
  }
}

TEST(RobustnessTest, RandomBytesAreEncodedOrRefused) {
  std::mt19937 random(7);
  for (const char* const name : {"gpt4o", "llama2", "t5", "nfkd_vanishing"}) {
    const auto tokenizer = LoadTokenizer(ReadGoldenText(std::string("tokenizers/") + name + ".json")).value();
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (int i = 0; i < 40; ++i) {
        // Half of the rounds are valid: characters of up to two bytes.
        const uint32_t c = random() % 0x7FF + 1;
        if (round % 2 == 0 && c >= 0x80) {
          text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
        } else {
          text.push_back(static_cast<char>(round % 2 == 0 ? c : random() & 0xFF));
        }
      }
      const auto ids = tokenizer->Encode(text, SpecialTokens::kAdd);
      EXPECT_TRUE(ids.ok() || round % 2 == 1) << ids.status();
      if (ids.ok()) tokenizer->Decode(*ids, false);
    }
  }
}

}  // namespace
}  // namespace tandem
