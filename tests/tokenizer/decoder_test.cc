#include "tokenizer/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/test_files.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

// What a decoder returns for each token, and at the end.
std::vector<std::string> Pieces(const char* config, const std::vector<std::string>& tokens) {
  const Json json = Json::parse(config);
  const Decoder decoder = Decoder::Make(json.is_null() ? nullptr : &json).value();
  DecodeChain chain = decoder.NewChain();
  std::vector<std::string> pieces;
  for (const std::string& token : tokens) pieces.push_back(chain.Push(token));
  pieces.push_back(chain.Flush());
  return pieces;
}

constexpr char kLlama[] = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";

TEST(DecoderTest, HoldsTheBytesOfAnUnfinishedCharacter) {
  // The bytes F0 9F 98 80 in the byte alphabet.
  EXPECT_THAT(Pieces(R"({"type": "ByteLevel"})", {"ð", "Ł", "ĺ", "Ģ", "a"}), ElementsAre("", "", "", "😀", "a", ""));
}

TEST(DecoderTest, AnUnfinishedCharacterAtTheEndIsReplaced) {
  EXPECT_THAT(Pieces(R"({"type": "ByteLevel"})", {"a", "ð", "Ł"}), ElementsAre("a", "", "", "\uFFFD"));
}

TEST(DecoderTest, ABrokenCharacterIsReplacedAsSoonAsItIsBroken) {
  EXPECT_THAT(Pieces(R"({"type": "ByteLevel"})", {"ð", "a", "Ģ"}), ElementsAre("", "\uFFFDa", "\uFFFD", ""));
}

TEST(DecoderTest, FallbackBytesWaitForTheEndOfTheirRun) {
  EXPECT_THAT(Pieces(kLlama, {"▁a", "<0xE4>", "<0xBD>", "<0xA0>", "b"}), ElementsAre("a", "", "", "", "你b", ""));
  EXPECT_THAT(Pieces(kLlama, {"a", "<0xE4>", "<0xFF>", "b"}), ElementsAre("a", "", "", "\uFFFD\uFFFDb", ""));
  EXPECT_THAT(Pieces(kLlama, {"a", "<0xE4>"}), ElementsAre("a", "", "\uFFFD"));
}

TEST(DecoderTest, StripTakesOneSpaceFromTheFrontOfTheWholeText) {
  EXPECT_THAT(Pieces(kLlama, {"▁", "▁a", "▁b"}), ElementsAre("", " a", " b", ""));
  EXPECT_THAT(Pieces(kLlama, {"a", "▁b"}), ElementsAre("a", " b", ""));
}

TEST(DecoderTest, StripOfSingleTokensWorksOnEachOfThem) {
  EXPECT_THAT(Pieces(R"({"type": "Strip", "content": "H", "start": 1, "stop": 1})", {"Hey", "HHH", "aH"}),
              ElementsAre("ey", "H", "a", ""));
}

TEST(DecoderTest, MetaspaceDropsTheFirstSpace) {
  EXPECT_THAT(Pieces(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})", {"▁a▁", "▁b"}),
              ElementsAre("a", " b", ""));
  EXPECT_THAT(Pieces(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})", {"▁a", "▁b"}),
              ElementsAre(" a", " b", ""));
}

TEST(DecoderTest, WithoutADecoderTokensAreJoinedBySpaces) {
  EXPECT_THAT(Pieces("null", {"a", "b"}), ElementsAre("a", " b", ""));
}

TEST(StreamDecoderTest, ReturnsOnlyWholeCharactersWhateverTheBytes) {
  const auto tokenizer = LoadTokenizer(SmallByteLevelConfig().dump()).value();
  uint32_t state = 1;  // a linear congruential generator: the same bytes in every run
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 24; ++i) {
      state = state * 1664525 + 1013904223;
      // Mostly lead and continuation bytes, so that characters begin, end and break often.
      ids.push_back(static_cast<int32_t>(state >> 24 | (state & 0x100 ? 0x80 : 0)) & 0xFF);
    }
    StreamDecoder decoder(tokenizer.get(), false);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = decoder.Append(id);
      EXPECT_EQ(FindInvalidUtf8(piece), std::string::npos);
      text += piece;
    }
    text += decoder.Flush();
    EXPECT_EQ(text, tokenizer->Decode(ids, false));
  }
}

}  // namespace
}  // namespace tandem
