// Encodings and decodings equal those of Hugging Face's tokenizers (tests/golden/tokenizer/make.py).
#include <gtest/gtest.h>

#include "test_files.h"

namespace tandem {
namespace {

class TokenizerGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto text = ReadFile(GoldenPath("tokenizers/" + GetParam() + ".json"));
    ASSERT_TRUE(text.ok()) << text.status();
    auto tokenizer = LoadTokenizer(*text);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    goldens_ = ReadGolden("encodings.json");
    golden_ = goldens_["tokenizers"][GetParam()];
  }

  std::string StreamAll(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
    StreamDecoder decoder(tokenizer_.get(), skip_special_tokens);
    std::string text;
    for (const int32_t id : ids) text += decoder.Append(id);
    return text + decoder.Flush();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  Json goldens_, golden_;
};

TEST_P(TokenizerGoldenTest, EncodesTheCorpus) {
  const Json& corpus = goldens_["corpus"];
  ASSERT_EQ(corpus.size(), golden_["cases"].size());
  for (size_t i = 0; i < corpus.size(); ++i) {
    const std::string text = corpus[i];
    const Json& golden = golden_["cases"][i];
    const std::vector<int32_t> plain = golden["ids"];
    const std::vector<int32_t> added = golden.value("with_special", plain);
    EXPECT_EQ(tokenizer_->Encode(text, SpecialTokens::kNone).value(), plain) << "case " << i << ": " << text;
    EXPECT_EQ(tokenizer_->Encode(text, SpecialTokens::kAdd).value(), added) << "case " << i << ": " << text;
  }
}

TEST_P(TokenizerGoldenTest, DecodesWhatItEncoded) {
  const Json& corpus = goldens_["corpus"];
  for (size_t i = 0; i < corpus.size(); ++i) {
    const Json& golden = golden_["cases"][i];
    const std::vector<int32_t> ids = golden["ids"];
    const std::string decoded = golden.value("decoded", corpus[i].get<std::string>());
    const std::string skipped = golden.value("decoded_skipping", decoded);
    EXPECT_EQ(tokenizer_->Decode(ids, false), decoded) << "case " << i;
    EXPECT_EQ(tokenizer_->Decode(ids, true), skipped) << "case " << i;
    EXPECT_EQ(StreamAll(ids, false), decoded) << "case " << i;
    EXPECT_EQ(StreamAll(ids, true), skipped) << "case " << i;
  }
}

TEST_P(TokenizerGoldenTest, DecodesIdsThatNoTextGives) {
  for (const Json& golden : golden_["decodings"]) {
    const std::vector<int32_t> ids = golden[0];
    EXPECT_EQ(tokenizer_->Decode(ids, false), golden[1].get<std::string>()) << golden[0];
    EXPECT_EQ(StreamAll(ids, false), golden[1].get<std::string>()) << golden[0];
  }
}

TEST_P(TokenizerGoldenTest, HasTheVocabularysSize) {
  EXPECT_EQ(tokenizer_->vocab_size(), golden_["vocab_size"].get<int>());
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGoldenTest,
                         ::testing::Values("gpt2", "llama3", "qwen2", "gpt4o", "deepseek", "starcoder", "split_removed",
                                           "split_removed_inverted", "split_merged_previous", "split_merged_next",
                                           "split_contiguous", "split_on_string", "onig_classes"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
