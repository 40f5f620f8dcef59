#include "training/token_ranges.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/fake_tokenizer.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr const char* kSmile = "\xF0\x9F\x99\x82";

std::vector<ByteRange> RangesOf(const Tokenizer& tokenizer, std::string_view text) {
  const auto tokens = tokenizer.Encode(text, SpecialTokens::kNone);
  EXPECT_TRUE(tokens.ok());
  const auto ranges = TokenByteRanges(tokenizer, text, *tokens);
  EXPECT_TRUE(ranges.ok()) << ranges.status();
  return ranges.ok() ? *ranges : std::vector<ByteRange>();
}

TEST(TokenByteRanges, TokensOfWholeCharactersLieSideBySide) {
  const FakeTokenizer tokenizer({"<u>", "ab", "\xC3\xA9"});
  EXPECT_THAT(RangesOf(tokenizer, "<u>abc\xC3\xA9"), ElementsAre(Pair(0, 3), Pair(3, 5), Pair(5, 6), Pair(6, 8)));
}

TEST(TokenByteRanges, TokensThatShareACharacterEachCoverAllOfIt) {
  const FakeTokenizer tokenizer({"\xF0\x9F", "\x99\x82"});
  EXPECT_THAT(RangesOf(tokenizer, std::string("a") + kSmile + "b"),
              ElementsAre(Pair(0, 1), Pair(1, 5), Pair(1, 5), Pair(5, 6)));
}

TEST(TokenByteRanges, ATokenOfAWholeAndAHalfCharacterCoversBoth) {
  const FakeTokenizer tokenizer({" \xF0\x9F", "\x99", "\x82!"});
  EXPECT_THAT(RangesOf(tokenizer, std::string(" ") + kSmile + "!"), ElementsAre(Pair(0, 5), Pair(1, 5), Pair(1, 6)));
}

TEST(TokenByteRanges, CharactersInterlockedByTokensAreToldApart) {
  const FakeTokenizer tokenizer({"\xC3", "\xA9\xC3", "\xA8"});
  EXPECT_THAT(RangesOf(tokenizer, "\xC3\xA9\xC3\xA8"), ElementsAre(Pair(0, 2), Pair(0, 4), Pair(2, 4)));
}

TEST(TokenByteRanges, ARealReplacementCharacterInTheTextIsNotTakenForHalfACharacter) {
  const FakeTokenizer whole({"\uFFFD"});
  EXPECT_THAT(RangesOf(whole, "\uFFFDx\uFFFD"), ElementsAre(Pair(0, 3), Pair(3, 4), Pair(4, 7)));
  const FakeTokenizer bytes({});
  EXPECT_THAT(RangesOf(bytes, "\uFFFDx"), ElementsAre(Pair(0, 3), Pair(0, 3), Pair(0, 3), Pair(3, 4)));
}

TEST(TokenByteRanges, ARealReplacementCharacterBeforeHalfACharacterStaysWhole) {
  const FakeTokenizer tokenizer({"\uFFFD\xC3", "\xA9"});
  EXPECT_THAT(RangesOf(tokenizer, "\uFFFD\xC3\xA9"), ElementsAre(Pair(0, 5), Pair(3, 5)));
}

TEST(TokenByteRanges, EveryByteTokenOfALongTextIsPlaced) {
  const FakeTokenizer tokenizer({});
  const std::string text = std::string("\xC3\xA9x") + kSmile;
  EXPECT_THAT(RangesOf(tokenizer, text),
              ElementsAre(Pair(0, 2), Pair(0, 2), Pair(2, 3), Pair(3, 7), Pair(3, 7), Pair(3, 7), Pair(3, 7)));
}

TEST(TokenByteRanges, WhiteSpaceThatASpecialTokenSwallowedBelongsToNoToken) {
  const FakeTokenizer tokenizer({"<u>", "ab"});
  const std::vector<int32_t> tokens = {256, 257};
  const auto ranges = TokenByteRanges(tokenizer, "<u>\n ab", tokens);
  ASSERT_TRUE(ranges.ok()) << ranges.status();
  EXPECT_THAT(*ranges, ElementsAre(Pair(0, 3), Pair(5, 7)));
}

TEST(TokenByteRanges, TokensOfAnotherTextAreRefused) {
  const FakeTokenizer tokenizer({"ab"});
  const std::vector<int32_t> tokens = {'a', 'c'};
  const auto ranges = TokenByteRanges(tokenizer, "ab", tokens);
  EXPECT_EQ(ranges.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ranges.status().message()), HasSubstr("token 1 decodes to 'c'"));
}

TEST(TokensWithin, ATokenThatTouchesARangeIsInIt) {
  const std::vector<ByteRange> tokens = {{0, 2}, {2, 4}, {4, 6}, {6, 8}};
  const std::vector<ByteRange> wanted = {{3, 5}};
  EXPECT_THAT(TokensWithin(tokens, wanted), ElementsAre(false, true, true, false));
}

TEST(TokensWithin, RangesThatMeetATokenAreAllLookedAt) {
  const std::vector<ByteRange> tokens = {{0, 9}, {9, 10}, {10, 12}};
  const std::vector<ByteRange> wanted = {{1, 1}, {3, 3}, {4, 5}, {11, 12}};
  EXPECT_THAT(TokensWithin(tokens, wanted), ElementsAre(true, false, true));
}

TEST(TokensWithin, ATokenWithoutTextIsInNoRange) {
  const std::vector<ByteRange> tokens = {{2, 2}, {2, 3}};
  const std::vector<ByteRange> wanted = {{0, 5}};
  EXPECT_THAT(TokensWithin(tokens, wanted), ElementsAre(false, true));
}

}  // namespace
}  // namespace tandem
