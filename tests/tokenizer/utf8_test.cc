#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

TEST(Utf8Test, FindsTheFirstByteThatIsNotUtf8) {
  EXPECT_EQ(FindInvalidUtf8("Grüße, 世界 🌍"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\x80"), 1u);             // a lone continuation
  EXPECT_EQ(FindInvalidUtf8("\xe4\xb8"), 0u);          // cut short
  EXPECT_EQ(FindInvalidUtf8("ab\xc0\xaf"), 2u);        // overlong
  EXPECT_EQ(FindInvalidUtf8("\xed\xa0\x80"), 0u);      // a surrogate
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(FindInvalidUtf8("\xf4\x8f\xbf\xbf"), std::string_view::npos);
}

}  // namespace
}  // namespace tandem
