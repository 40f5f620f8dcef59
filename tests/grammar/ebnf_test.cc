#include "grammar/ebnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "grammar/test_grammars.h"

namespace tandem::grammar {
namespace {

using testing::HasSubstr;

std::shared_ptr<Grammar> Compiled(std::string_view text) {
  const absl::StatusOr<Rules> rules = ParseEbnf(text);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return *Grammar::Compile(*rules, ByteTokens());
}

TEST(Ebnf, MatchesArithmeticWithLeftRecursion) {
  const auto grammar = Compiled(R"ebnf(root ::= sum
sum ::= sum [+-] product | product   # left recursion within one rule
product ::= product "*" value |
            value
value ::= [0-9]+ | "(" sum ")"
)ebnf");
  EXPECT_TRUE(Matches(grammar, "1+2*(3-4)*55"));
  EXPECT_FALSE(Matches(grammar, "1+"));
  EXPECT_FALSE(Matches(grammar, "1+2)"));
}

TEST(Ebnf, MatchesNestingOfAnyDepth) {
  const auto grammar = Compiled("root ::= \"[\" root* \"]\"");
  EXPECT_TRUE(Matches(grammar, std::string(5000, '[') + std::string(5000, ']')));
  EXPECT_FALSE(Matches(grammar, std::string(50, '[') + std::string(49, ']')));
}

TEST(Ebnf, RightRecursionDoesNotGrowTheStack) {
  const auto grammar = Compiled("root ::= \"x\" root | \"y\"");
  EXPECT_TRUE(Matches(grammar, std::string(20000, 'x') + "y"));
}

TEST(Ebnf, ClassesLiteralsAndEscapesAreUnicode) {
  const auto grammar = Compiled(R"(root ::= [^a-yß] "\u00e4\n\x41" . )");
  EXPECT_TRUE(Matches(grammar, "z\xC3\xA4\nA\xF0\x9F\x98\x80"));
  EXPECT_FALSE(Matches(grammar, "b\xC3\xA4\nAx"));
  EXPECT_FALSE(Matches(grammar, "\xC3\x9F\xC3\xA4\nAx"));
}

TEST(Ebnf, CountsOfAnySizeAreExact) {
  const auto grammar = Compiled("root ::= (\"ab\" | \"c\"){2,1000} \"!\"");
  EXPECT_FALSE(Matches(grammar, "ab!"));
  EXPECT_TRUE(Matches(grammar, "abc!"));
  EXPECT_TRUE(Matches(grammar, std::string(1000, 'c') + "!"));
  EXPECT_FALSE(Matches(grammar, std::string(1001, 'c') + "!"));
}

TEST(Ebnf, ErrorsSayWhere) {
  EXPECT_THAT(CompileError(ParseEbnf("root ::= \"a\nb ::= \"c\"")), HasSubstr("line 1, column 12"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= (\"a\"")), HasSubstr("want ')'"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= other")), HasSubstr("rule 'other' is not defined"));
  EXPECT_THAT(CompileError(ParseEbnf("start ::= \"a\"")), HasSubstr("'root'"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= [z-a]")), HasSubstr("reversed"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= \"a\"{3,2}")), HasSubstr("reversed"));
}

TEST(Ebnf, HostileGrammarsGetAStatus) {
  EXPECT_THAT(CompileError(ParseEbnf("root ::= root")), HasSubstr("no finite text"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= \"a\" root")), HasSubstr("no finite text"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= a\na ::= b \"x\"\nb ::= a \"y\" | \"z\"")),
              HasSubstr("begins with itself through other rules"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= \"a\"{1,100000000}")), HasSubstr("count is larger"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= " + std::string(1000, '(') + "\"a\"")), HasSubstr("nested deeper"));
  EXPECT_THAT(CompileError(ParseEbnf("root ::= \"a\"?????")), HasSubstr("line 1, column 17: one item has more than 4"));
  EXPECT_EQ(CompileError(ParseEbnf("root ::= \"a\"????")), "");
  EXPECT_EQ(CompileError(ParseEbnf("root ::= \"a\"{1,1000000}")), "");
  EXPECT_EQ(CompileError(ParseEbnf("root ::= ((((\"a\"?){1,1000}){1,1000}){1,1000}){1,1000}")), "");
}

// Each is nullable because the next one is.
TEST(Ebnf, LongChainsOfEmptyRulesEndInTime) {
  std::string text = "r9000 ::= \"\"\n";
  for (int i = 8999; i >= 0; --i) absl::StrAppend(&text, "r", i, " ::= r", i + 1, " r", i + 1, "\n");
  const auto grammar = Compiled(text + "root ::= r0 \"x\"\n");
  EXPECT_TRUE(Matches(grammar, "x"));
  EXPECT_FALSE(Matches(grammar, ""));
}

TEST(Ebnf, AmbiguityCostsPolynomialWorkOrAStatus) {
  const auto grammar =
      Compiled("root ::= b | c | \"x\"\nb ::= \"(\" root \")\" root\nc ::= \"(\" root \")\" root | \"(\"");
  Matcher matcher(grammar);
  std::vector<uint64_t> mask(5);
  for (int i = 0; i < 300; ++i) {
    const absl::Status status = matcher.AcceptBytes("(");
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    if (i % 50 == 0 && !matcher.FillMask(std::span(mask)).ok()) return;
  }
}

TEST(Ebnf, EndTokensComeOnlyWhereTheTextIsComplete) {
  Matcher matcher(Compiled("root ::= \"ab\" \"c\"?"));
  EXPECT_FALSE(matcher.Accept(256).ok());
  ASSERT_TRUE(matcher.AcceptBytes("ab").ok());
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_FALSE(matcher.MustEnd());
  ASSERT_TRUE(matcher.AcceptBytes("c").ok());
  EXPECT_TRUE(matcher.MustEnd());
  EXPECT_TRUE(matcher.Accept(256).ok());
  EXPECT_FALSE(matcher.Accept(256).ok());
}

}  // namespace
}  // namespace tandem::grammar
