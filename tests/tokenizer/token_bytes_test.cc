// The bytes of single tokens, in each spelling that tokenizer.json knows.
#include "tokenizer/token_bytes.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

std::string Bytes(std::string_view decoder, std::string_view token) {
  const Json config = Json::parse(decoder);
  return BytesOfToken(token, FindByteSpelling(&config));
}

TEST(TokenBytesTest, ByteLevelTokensAreTheirBytes) {
  constexpr std::string_view kDecoder = R"({"type": "ByteLevel"})";
  EXPECT_EQ(Bytes(kDecoder, "\u0120fox"), " fox");
  EXPECT_EQ(Bytes(kDecoder, "\u00c3"), "\xc3") << "half a character";
}

TEST(TokenBytesTest, ByteFallbackTokensAreOneByteAndMetaspacesSpaces) {
  constexpr std::string_view kDecoder =
      R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
          {"type": "ByteFallback"}, {"type": "Fuse"}]})";
  EXPECT_EQ(Bytes(kDecoder, "<0xE2>"), "\xe2");
  EXPECT_EQ(Bytes(kDecoder, "<0xG2>"), "<0xG2>");
  EXPECT_EQ(Bytes(kDecoder, "▁a▁b"), " a b");
}

TEST(TokenBytesTest, WithoutADecoderATokenIsItsText) {
  EXPECT_EQ(BytesOfToken("▁<0x0A>", FindByteSpelling(nullptr)), "▁<0x0A>");
}

}  // namespace
}  // namespace tandem
