// Encodings and decodings equal those of Hugging Face's tokenizers (tests/golden/tokenizer/make.py).
#include <gtest/gtest.h>

#include "tokenizer/test_files.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

class TokenizerGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { goldens_ = new ordered_json(ReadGolden("encodings.json")); }
  static void TearDownTestSuite() {
    delete goldens_;
    goldens_ = nullptr;
  }

  void SetUp() override {
    auto tokenizer = LoadTokenizer(ReadGoldenText("tokenizers/" + GetParam() + ".json"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  const ordered_json& corpus() const { return (*goldens_)["corpus"]; }
  const ordered_json& golden() const { return (*goldens_)["tokenizers"][GetParam()]; }

  std::string StreamAll(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
    StreamDecoder decoder(tokenizer_.get(), skip_special_tokens);
    std::string text;
    for (const int32_t id : ids) text += decoder.Append(id);
    return text + decoder.Flush();
  }

  static ordered_json* goldens_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

ordered_json* TokenizerGoldenTest::goldens_ = nullptr;

TEST_P(TokenizerGoldenTest, EncodesTheCorpus) {
  ASSERT_EQ(corpus().size(), golden()["cases"].size());
  for (size_t i = 0; i < corpus().size(); ++i) {
    const std::string text = corpus()[i];
    const ordered_json& expected = golden()["cases"][i];
    const std::vector<int32_t> plain = expected["ids"];
    const std::vector<int32_t> added = expected.value("with_special", plain);
    EXPECT_EQ(tokenizer_->Encode(text, SpecialTokens::kNone).value(), plain) << "case " << i << ": " << text;
    EXPECT_EQ(tokenizer_->Encode(text, SpecialTokens::kAdd).value(), added) << "case " << i << ": " << text;
  }
}

TEST_P(TokenizerGoldenTest, DecodesWhatItEncoded) {
  for (size_t i = 0; i < corpus().size(); ++i) {
    const ordered_json& expected = golden()["cases"][i];
    const std::vector<int32_t> ids = expected["ids"];
    const std::string decoded = expected.value("decoded", corpus()[i].get<std::string>());
    const std::string skipped = expected.value("decoded_skipping", decoded);
    EXPECT_EQ(tokenizer_->Decode(ids, false), decoded) << "case " << i;
    EXPECT_EQ(tokenizer_->Decode(ids, true), skipped) << "case " << i;
    EXPECT_EQ(StreamAll(ids, false), decoded) << "case " << i;
    EXPECT_EQ(StreamAll(ids, true), skipped) << "case " << i;
  }
}

TEST_P(TokenizerGoldenTest, DecodesIdsThatNoTextGives) {
  for (const ordered_json& expected : golden()["decodings"]) {
    const std::vector<int32_t> ids = expected[0];
    EXPECT_EQ(tokenizer_->Decode(ids, false), expected[1].get<std::string>()) << expected[0];
    EXPECT_EQ(StreamAll(ids, false), expected[1].get<std::string>()) << expected[0];
  }
}

TEST_P(TokenizerGoldenTest, HasTheVocabularysSize) {
  EXPECT_EQ(tokenizer_->vocab_size(), golden()["vocab_size"].get<int>());
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGoldenTest,
                         ::testing::Values("gpt2", "llama3", "qwen2", "gpt4o", "deepseek", "starcoder", "split_removed",
                                           "split_removed_inverted", "split_merged_previous", "split_merged_next",
                                           "split_contiguous", "split_on_string", "onig_classes", "llama2_legacy",
                                           "llama2", "gemma", "t5", "unigram_bytes", "nfc_unknown", "nfd_lower_fused",
                                           "nfkd_vanishing"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
