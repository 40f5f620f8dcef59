#include "grammar/regex_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "grammar/test_grammars.h"

namespace tandem::grammar {
namespace {

using testing::HasSubstr;

class Pcre {
 public:
  explicit Pcre(const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_ =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY, &error, &offset, nullptr);
    EXPECT_NE(code_, nullptr) << pattern;
    match_ = pcre2_match_data_create_from_pattern(code_, nullptr);
  }
  ~Pcre() {
    pcre2_match_data_free(match_);
    pcre2_code_free(code_);
  }
  bool Matches(const std::string& text) const {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, match_, nullptr) >= 0;
  }

 private:
  pcre2_code* code_ = nullptr;
  pcre2_match_data* match_ = nullptr;
};

TEST(RegexRules, MatchesWhatPcre2MatchesOnRandomTexts) {
  const std::vector<std::string> patterns = {"a*b+c?",
                                             "(ab|a)(c|bc)*",
                                             "[a-c]{2,4}",
                                             "[^a]{1,60}b",
                                             "^(?:a|b\\d)+$",
                                             "\\w+\\s\\w*",
                                             "a.c|b.{0,3}",
                                             "(a{2}|b){2,}?",
                                             "[\\dab\\-]+",
                                             "(?<x>a)(?P<y>b)*?c",
                                             "",
                                             "a|",
                                             "^a$|^b+$",
                                             "[\xC3\xA4-\xC3\xBC]+b?",
                                             "\\.\\{\\\\",
                                             "(a*)*b",
                                             "(a|aa)+$",
                                             "x{0}a{,b",
                                             "\\S\\D\\W*",
                                             "\\x61\\x62[c\\]]"};
  const std::vector<std::string> pieces = {"a", "b", "c", "1", " ", "-", "\xC3\xA4", "\n", ".", "{", "\\", "]", "a{,b"};
  std::mt19937 random(7);
  int matched = 0;
  for (const std::string& pattern : patterns) {
    const Pcre oracle(pattern);
    const absl::StatusOr<Rules> rules = ParseRegex(pattern);
    ASSERT_TRUE(rules.ok()) << pattern << ": " << rules.status();
    const auto grammar = Grammar::Compile(*rules, ByteTokens());
    ASSERT_TRUE(grammar.ok()) << pattern << ": " << grammar.status();
    for (int i = 0; i < 400; ++i) {
      std::string text;
      for (int n = random() % 7; n > 0; --n) text += pieces[random() % (i % 2 ? 3 : pieces.size())];
      ASSERT_EQ(Matches(*grammar, text), oracle.Matches(text)) << "pattern " << pattern << " text '" << text << "'";
      matched += oracle.Matches(text);
    }
  }
  EXPECT_GT(matched, 500);
}

TEST(RegexRules, NamesAndPlacesWhatIsNotRegular) {
  EXPECT_THAT(CompileError(ParseRegex("ab(?=c)")), HasSubstr("column 3: lookaround '(?='"));
  EXPECT_THAT(CompileError(ParseRegex("(?<!c)b")), HasSubstr("lookaround '(?<!'"));
  EXPECT_THAT(CompileError(ParseRegex("(a)\\1")), HasSubstr("column 4: back references"));
  EXPECT_THAT(CompileError(ParseRegex("\\p{L}")), HasSubstr("Unicode properties"));
  EXPECT_THAT(CompileError(ParseRegex("a\\b")), HasSubstr("\\b is not supported"));
  EXPECT_THAT(CompileError(ParseRegex("(?i)a")), HasSubstr("inline flags"));
  EXPECT_THAT(CompileError(ParseRegex("a^b")), HasSubstr("anchor inside"));
  EXPECT_THAT(CompileError(ParseRegex("a)")), HasSubstr("without '('"));
  EXPECT_THAT(CompileError(ParseRegex("[a")), HasSubstr("no closing ']'"));
  EXPECT_THAT(CompileError(ParseRegex("*a")), HasSubstr("nothing to repeat"));
}

TEST(RegexRules, ExponentialAutomataAreFollowedLazily) {
  const auto grammar = Grammar::Compile(*ParseRegex("(a|b)*a(a|b){30}"), ByteTokens());
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Matches(*grammar, "bba" + std::string(30, 'b')));
  EXPECT_FALSE(Matches(*grammar, "bbb" + std::string(30, 'b')));
}

}  // namespace
}  // namespace tandem::grammar
