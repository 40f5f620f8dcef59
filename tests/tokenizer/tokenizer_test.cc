#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tokenizer/test_files.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Tokenizer> Small() {
  return LoadTokenizer(SmallByteLevelConfig().dump()).value();
}

TEST(TokenizerTest, MergesByRank) {
  EXPECT_THAT(Small()->Encode("he the", SpecialTokens::kNone).value(), ElementsAre(257, 258));
}

TEST(TokenizerTest, MissingMergesAreRefusedByName) {
  auto config = SmallByteLevelConfig();
  config["model"].erase("merges");
  const auto tokenizer = LoadTokenizer(config.dump());
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("model.merges"));
}

TEST(TokenizerTest, RefusesInvalidUtf8WithItsOffset) {
  const auto ids = Small()->Encode("abc\xC3(", SpecialTokens::kNone);
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("byte 3"));
}

TEST(TokenizerTest, FindsSpecialTokensInsideText) {
  const auto tokenizer = Small();
  EXPECT_THAT(tokenizer->Encode("he<|end|> the", SpecialTokens::kNone).value(), ElementsAre(257, 260, 258));
  EXPECT_TRUE(tokenizer->IsSpecial(260));
  EXPECT_FALSE(tokenizer->IsSpecial(257));
}

TEST(TokenizerTest, NamesTokensBothWays) {
  const auto tokenizer = Small();
  EXPECT_EQ(tokenizer->vocab_size(), 261);
  EXPECT_EQ(tokenizer->TokenToId("<|end|>"), 260);
  EXPECT_EQ(tokenizer->TokenToId("he"), 257);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer->IdToToken(257), "he");
  EXPECT_EQ(tokenizer->IdToToken(5000), "");
  EXPECT_EQ(tokenizer->IdToToken(-1), "");
}

TEST(TokenizerTest, UnknownIdsDecodeToNothing) {
  const std::vector<int32_t> ids = {257, 9999, -3, 258};
  EXPECT_EQ(Small()->Decode(ids, false), "he the");
}

TEST(TokenizerTest, SkipsSpecialTokensOnlyWhenAsked) {
  const std::vector<int32_t> ids = {259, 257, 260};
  EXPECT_EQ(Small()->Decode(ids, false), "<|begin|>he<|end|>");
  EXPECT_EQ(Small()->Decode(ids, true), "he");
}

TEST(TokenizerTest, PostProcessorsNest) {
  auto config = SmallByteLevelConfig();
  config["post_processor"] = nlohmann::ordered_json::parse(R"({"type": "Sequence", "processors": [
      {"type": "TemplateProcessing",
       "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
       "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [259]}}},
      {"type": "TemplateProcessing",
       "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}],
       "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [260]}}}]})");
  const auto tokenizer = LoadTokenizer(config.dump()).value();
  EXPECT_THAT(tokenizer->Encode("he", SpecialTokens::kAdd).value(), ElementsAre(259, 257, 260));
  EXPECT_THAT(tokenizer->Encode("he", SpecialTokens::kNone).value(), ElementsAre(257));
}

TEST(TokenizerTest, EncodesAMegabyteOfOneWordInTime) {
  // One word of a million characters: quadratic merging would take minutes.
  const std::string text(1 << 20, 'h');
  EXPECT_EQ(Small()->Encode(text, SpecialTokens::kNone).value().size(), text.size());
  std::string pairs;
  for (int i = 0; i < 1 << 19; ++i) pairs += "he";
  EXPECT_EQ(Small()->Encode(pairs, SpecialTokens::kNone).value().size(), pairs.size() / 2);
}

TEST(TokenizerTest, IsSharedByThreads) {
  const auto tokenizer = Small();
  std::vector<std::thread> threads;
  std::vector<int> sizes(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) sizes[t] += tokenizer->Encode("he the\nthe<|end|>", SpecialTokens::kAdd)->size();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(sizes, ::testing::Each(sizes[0]));
}

TEST(TokenizerTest, RefusesAnExpressionThatBacktracksWithoutBound) {
  auto config = SmallByteLevelConfig();
  config["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}, {"invert", false}};
  const auto tokenizer = LoadTokenizer(config.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto ids = (*tokenizer)->Encode(std::string(40, 'a') + "b", SpecialTokens::kNone);
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kResourceExhausted) << ids.status();
}

// A file that differs from a good one in one field, and what the refusal must say.
struct Refusal {
  const char* name;
  const char* pointer;  // JSON pointer of the field
  const char* value;
  const char* message;
};

class TokenizerRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(TokenizerRefusalTest, NamesTheFieldAndTheValue) {
  auto config = SmallByteLevelConfig();
  config[nlohmann::ordered_json::json_pointer(GetParam().pointer)] = nlohmann::ordered_json::parse(GetParam().value);
  const auto tokenizer = LoadTokenizer(config.dump());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerRefusalTest,
    ::testing::Values(
        Refusal{"ModelType", "/model/type", R"("WordPiece")", "model.type is 'WordPiece', which is not supported"},
        Refusal{"ModelIsAString", "/model", R"("BPE")", "model is the string 'BPE'"},
        Refusal{"NoMerges", "/model/merges", "null", "model.merges is missing"},
        Refusal{"MergesOfAWrongType", "/model/merges", "5", "model.merges is the number 5"},
        Refusal{"MergeIsANumber", "/model/merges/1", "7", "model.merges[1] is the number 7"},
        Refusal{"MergeOfThree", "/model/merges/1", R"("h e e")", "model.merges[1] is 'h e e'"},
        Refusal{"MergeOfOne", "/model/merges/1", R"("h")", "model.merges[1] is 'h'"},
        Refusal{"MergeOfUnknownLeft", "/model/merges/1", R"("hh e")", "'hh' is not in model.vocab"},
        Refusal{"MergeOfUnknownResult", "/model/merges/1", R"(["h", "h"])", "'hh' is not in model.vocab"},
        Refusal{"VocabIsAList", "/model/vocab", "[]", "model.vocab is an array"},
        Refusal{"NegativeId", "/model/vocab/he", "-1", "token 'he' has id -1"},
        Refusal{"HugeId", "/model/vocab/he", "4000000000", "token 'he' has id 4000000000"},
        Refusal{"IdOver64Bits", "/model/vocab/he", "18446744073709551615", "model.vocab['he']"},
        Refusal{"FractionalId", "/model/vocab/he", "1.5", "model.vocab['he'] is the number 1.5"},
        Refusal{"SharedId", "/model/vocab/he", "65", "share id 65"},
        Refusal{"Dropout", "/model/dropout", "0.1", "model.dropout is 0.1"},
        Refusal{"Suffix", "/model/end_of_word_suffix", R"("</w>")", "model.end_of_word_suffix is '</w>'"},
        Refusal{"Normalizer", "/normalizer", R"({"type": "Nfc"})",
                "normalizer.type is 'Nfc', which is not supported; did"},
        Refusal{"PreTokenizer", "/pre_tokenizer", R"({"type": "BertPreTokenizer"})",
                "pre_tokenizer.type is 'BertPreTokenizer', which is not supported"},
        Refusal{
            "NestedPreTokenizer", "/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "X"}]})",
            "pre_tokenizer.pretokenizers[1].type is 'X'"},
        Refusal{"NoPrefixSpaceFlag", "/pre_tokenizer/add_prefix_space", "1",
                "pre_tokenizer.add_prefix_space is the number 1"},
        Refusal{"BadRegex", "/pre_tokenizer",
                R"({"type": "Split", "pattern": {"Regex": "a("}, "behavior": "Isolated", "invert": false})",
                "pre_tokenizer.pattern: 'a(' is no regular expression"},
        Refusal{"ClassIntersection", "/pre_tokenizer",
                R"({"type": "Split", "pattern": {"Regex": "[a-z&&[^b]]"}, "behavior": "Isolated", "invert": false})",
                "intersection"},
        Refusal{"SplitBehavior", "/pre_tokenizer",
                R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Removes", "invert": false})",
                "pre_tokenizer.behavior is 'Removes', which is not supported; did you mean 'Removed'"},
        Refusal{"PostProcessor", "/post_processor", R"({"type": "BertProcessing"})",
                "post_processor.type is 'BertProcessing'"},
        Refusal{
            "TemplateOfAPair", "/post_processor",
            R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}})",
            "post_processor.single[0].Sequence.id is 'B'"},
        Refusal{
            "TemplateOfUnknownToken", "/post_processor",
            R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}], "special_tokens": {}})",
            "post_processor.special_tokens has no '<x>'"},
        Refusal{"TemplateWithNegativeId", "/post_processor",
                R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}],
                    "special_tokens": {"<x>": {"id": "<x>", "ids": [-1]}}})",
                "the number -1, want ids from 0"},
        Refusal{"Decoder", "/decoder", R"({"type": "CTC"})", "decoder.type is 'CTC'"},
        Refusal{"DecoderBehindFuse", "/decoder",
                R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]})",
                "decoder.decoders[1].type is 'ByteFallback' behind a step that joins all tokens"},
        Refusal{"AddedTokensAreNoList", "/added_tokens", "{}", "added_tokens is an object"},
        Refusal{"AddedTokenWithoutContent", "/added_tokens/1/content", "null", "added_tokens[1].content is missing"},
        Refusal{"AddedTokenWithNegativeId", "/added_tokens/1/id", "-7", "added_tokens[1].id is -7"}),
    [](const auto& info) { return info.param.name; });

TEST(TokenizerTest, MissingFileIsNotFound) {
  const TestDirectory directory;
  EXPECT_EQ(Tokenizer::Load(directory.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(TokenizerTest, BrokenJsonNamesThePlace) {
  const auto tokenizer = LoadTokenizer("{\n  \"model\": }");
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("line 2"));
}

}  // namespace
}  // namespace tandem
