// Case, properties and normalization of every character equal Python's (tests/golden/tokenizer/unicode.json holds
// CRCs).
#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <array>

#include "tokenizer/byte_level.h"
#include "tokenizer/normalization.h"
#include "tokenizer/test_files.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

uint32_t Crc32(std::string_view data) {
  std::array<uint32_t, 256> table;
  for (uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) table[i] = (table[i] >> 1) ^ (table[i] & 1 ? 0xEDB88320u : 0);
  }
  uint32_t crc = ~0u;
  for (const char c : data) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

template <typename Fn>
void ForEachCharacter(Fn fn) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    fn(c);
  }
}

std::string Utf8(char32_t c) {
  std::string text;
  AppendUtf8(c, &text);
  return text;
}

uint32_t CrcOfMapped(std::string (*map)(std::string_view)) {
  std::string all;
  ForEachCharacter([&](char32_t c) { all += map(Utf8(c)); });
  return Crc32(all);
}

uint32_t CrcOfProperty(bool (*property)(char32_t)) {
  std::string all;
  ForEachCharacter([&](char32_t c) { all.push_back(property(c) ? 1 : 0); });
  return Crc32(all);
}

TEST(UnicodeTest, MapsTheCaseOfEveryCharacterAsPython) {
  const auto golden = ReadGolden("unicode.json");
  EXPECT_EQ(CrcOfMapped(ToLower), golden["lower"].get<uint32_t>());
  EXPECT_EQ(CrcOfMapped(ToUpper), golden["upper"].get<uint32_t>());
  EXPECT_EQ(CrcOfMapped(ToTitle), golden["title"].get<uint32_t>());
  EXPECT_EQ(CrcOfMapped(ToCapitalized), golden["capitalize"].get<uint32_t>());
}

TEST(UnicodeTest, KnowsThePropertiesOfEveryCharacterAsPython) {
  const auto golden = ReadGolden("unicode.json");
  EXPECT_EQ(CrcOfProperty(IsPrintable), golden["isprintable"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsAlpha), golden["isalpha"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsDecimal), golden["isdecimal"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsDigit), golden["isdigit"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsNumeric), golden["isnumeric"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsUpper), golden["isupper"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsLower), golden["islower"].get<uint32_t>());
  EXPECT_EQ(CrcOfProperty(IsPythonSpace), golden["isspace"].get<uint32_t>());
}

TEST(UnicodeTest, NormalizesEveryCharacterAmongMarksAsPython) {
  const auto golden = ReadGolden("unicode.json");
  const std::pair<const char*, NormalizationForm> forms[] = {{"NFC", NormalizationForm::kNfc},
                                                             {"NFD", NormalizationForm::kNfd},
                                                             {"NFKC", NormalizationForm::kNfkc},
                                                             {"NFKD", NormalizationForm::kNfkd}};
  for (const auto& [name, form] : forms) {
    std::string all;
    ForEachCharacter([&](char32_t c) { all += NormalizeUnicode("a" + Utf8(c) + "\u0323\u0301\u1161\u11a8", form); });
    EXPECT_EQ(Crc32(all), golden[name].get<uint32_t>()) << name;
  }
}

TEST(Utf8Test, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FindInvalidUtf8("aé€😀"), std::string::npos);
  EXPECT_EQ(FindInvalidUtf8("ab\xFF"), 2);
  EXPECT_EQ(FindInvalidUtf8("a\xC3"), 1) << "unfinished";
  EXPECT_EQ(FindInvalidUtf8("\xC0\x80"), 0) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("a\xED\xA0\x80"), 1) << "surrogate";
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0) << "over U+10FFFF";
}

TEST(Utf8Test, ReplacesEachMaximalPartOfABrokenCharacter) {
  // The example of the Unicode standard, table 3-8.
  EXPECT_EQ(ReplaceInvalidUtf8("a\xF1\x80\x80\xE1\x80\xC2"
                               "b\x80"
                               "c\x80\xBF"
                               "d"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
}

TEST(Utf8Test, SeesHowMuchOfTheEndMayStillBecomeACharacter) {
  EXPECT_EQ(UnfinishedUtf8Suffix("a"), 0);
  EXPECT_EQ(UnfinishedUtf8Suffix("a\xF0\x9F\x98"), 3);
  EXPECT_EQ(UnfinishedUtf8Suffix("a\xE2\x82"), 2);
  EXPECT_EQ(UnfinishedUtf8Suffix("é"), 0);
  EXPECT_EQ(UnfinishedUtf8Suffix("\xE2\xFF"), 0) << "broken for good";
  EXPECT_EQ(UnfinishedUtf8Suffix("\xE0\x80"), 0) << "overlong whatever follows";
}

TEST(ByteLevelTest, GivesBackEveryByte) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  std::string token;
  AppendByteLevel(bytes, &token);
  EXPECT_EQ(CountCodePoints(token), 256);
  EXPECT_EQ(BytesOfByteLevel(token), bytes);
  EXPECT_EQ(BytesOfByteLevel("Ġa\u4E00"), "Ġa\u4E00") << "not of the alphabet: itself";
}

}  // namespace
}  // namespace tandem
