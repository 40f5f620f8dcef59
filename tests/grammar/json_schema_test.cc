#include "grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "grammar/test_grammars.h"

namespace tandem::grammar {
namespace {

using testing::HasSubstr;

std::shared_ptr<Grammar> Compiled(std::string_view schema) {
  const absl::StatusOr<Rules> rules = ParseJsonSchema(schema);
  EXPECT_TRUE(rules.ok()) << rules.status();
  const auto grammar = Grammar::Compile(*rules, ByteTokens());
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return *grammar;
}

void Expect(std::string_view schema, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  const auto grammar = Compiled(schema);
  for (const std::string& text : good) EXPECT_TRUE(Matches(grammar, text)) << schema << " refuses " << text;
  for (const std::string& text : bad) EXPECT_FALSE(Matches(grammar, text)) << schema << " takes " << text;
}

TEST(JsonSchema, ObjectsHaveTheirMembersInOrderWithCommasBetween) {
  Expect(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"type":"null"}},
             "required":["b"],"additionalProperties":false})",
         {R"({"b":true})", R"({"a":1,"b":true,"c":null})", R"({"a": 1, "b": false})", R"({"b":true,"c":null})",
          "{\n  \"b\": true\n}"},
         {"{}", R"({"a":1})", R"({"a":1,"b":true,})", R"({,"b":true})", R"({"b":true,"a":1})", R"({"b":1})",
          R"({"b":true,"d":1})", R"({"b":true"c":null})", R"({"b":true)"});
  Expect(R"({"properties":{"a":{},"b":{}}})", {"{}", R"({"a":[1,{"x":"y"}]})", R"({"b":2})", R"({"a":1,"b":2})"},
         {R"({"z":1})", "1", R"({"a":1,})"});
}

TEST(JsonSchema, AThousandOptionalMembersFit) {
  std::string properties;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&properties, i > 0 ? "," : "", "\"p", i, "\":{\"type\":\"integer\"}");
  const auto grammar = Compiled(absl::StrCat(R"({"type":"object","properties":{)", properties, "}}"));
  EXPECT_TRUE(Matches(grammar, "{}"));
  EXPECT_TRUE(Matches(grammar, R"({"p0":1,"p7":2,"p999":3})"));
  EXPECT_TRUE(Matches(grammar, R"({"p999":3})"));
  EXPECT_FALSE(Matches(grammar, R"({"p7":2,"p0":1})"));
}

TEST(JsonSchema, OtherMembersFollowAndBearOtherNames) {
  Expect(R"({"properties":{"ab":{"type":"integer"},"a\"":{}},"additionalProperties":{"type":"string"}})",
         {R"({"ab":1,"x":"y"})", R"({"a":"y"})", R"({"abc":"y","":"z"})", "{}", R"({"b":"y"})"},
         {R"({"ab":"y"})", R"({"x":1})", R"({"\u0061b":"y"})", R"({"ab":1,"ab":"y"})"});
  Expect(R"({"type":"object","required":["k"],"additionalProperties":{"type":"integer"}})",
         {R"({"k":1})", R"({"k":1,"l":2})"}, {"{}", R"({"k":"x"})", R"({"l":2})"});
}

TEST(JsonSchema, StringsCountCharactersInAnySpelling) {
  Expect(R"({"type":"string","minLength":2,"maxLength":3})",
         {R"("ab")", "\"\xC3\xA4\xF0\x9F\x98\x80\"", R"("\n\u00e4")", R"("\ud83d\ude00x")", R"("abc")"},
         {R"("a")", R"("abcd")", R"("\ud83d\ude00")", R"("\ud83dx")", R"("\q1")", "\"a\n\"", "ab"});
}

TEST(JsonSchema, PatternsAreSearchedForInTheContent) {
  Expect(R"({"type":"string","pattern":"b+c"})", {R"("abbcd")", R"("bc")", R"("\"bc")"}, {R"("ac")", "\"bc"});
  Expect(R"({"type":"string","pattern":"^a.\"$"})", {R"("ax\"")", R"("a\\\"")", R"("a\t\"")"},
         {R"("ax"")", R"("bax\"")", R"("ax\"b")", R"("a\n\"")"});
  Expect(R"({"format":"date-time"})", {R"("2024-02-28T23:59:59.5Z")", R"("2024-12-31T00:00:00+01:30")"},
         {R"("2024-02-30T00:00:00Z")", R"("2024-04-31T00:00:00Z")", R"("2024-01-01")"});
}

TEST(JsonSchema, IntegersKeepTheirBoundsExactly) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    const int low = static_cast<int>(random() % 2400) - 1200, high = low + static_cast<int>(random() % 1500);
    const auto grammar =
        Compiled(absl::StrCat(R"({"type":"integer","minimum":)", low, R"(,"exclusiveMaximum":)", high + 1, "}"));
    for (int value = -1300; value < 2800; value += 1 + static_cast<int>(random() % 3)) {
      ASSERT_EQ(Matches(grammar, absl::StrCat(value)), value >= low && value <= high) << low << " " << value;
    }
    for (const int edge : {low - 1, low, high, high + 1}) {
      ASSERT_EQ(Matches(grammar, absl::StrCat(edge)), edge >= low && edge <= high) << low << " " << edge;
    }
    EXPECT_FALSE(Matches(grammar, absl::StrCat("0", std::abs(high))));
  }
  Expect(R"({"type":"integer"})", {"0", "-17", "999999999999999999"}, {"01", "1.0", "-", "+1", "1e3"});
}

TEST(JsonSchema, NumbersKeepWholeBounds) {
  Expect(R"({"type":"number"})", {"0", "-1.50", "1e-7", "12.5E+10"}, {".5", "1.", "00", "1e", "NaN"});
  Expect(R"({"type":"number","minimum":0,"maximum":100})", {"0", "0.01", "99.999", "100", "100.00"},
         {"-1", "-0.1", "100.01", "101", "1e5"});
  Expect(R"({"type":"number","minimum":-2,"maximum":-1})", {"-1", "-1.5", "-2.0"}, {"-0.5", "-2.1", "1"});
}

TEST(JsonSchema, ArraysHaveSoManyItems) {
  Expect(R"({"type":"array","items":{"enum":["x",1,null]},"minItems":2,"maxItems":3})",
         {R"(["x",1])", R"([null, "x", 1])"}, {"[]", "[1]", "[1,1,1,1]", "[1,]", "[2,1]", "[1 1]"});
  Expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"boolean"}],"items":{"type":"null"}})",
         {"[]", "[1]", "[1,true]", "[1,false,null,null]"}, {"[true]", "[1,null]", "[1,true,2]"});
  Expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"boolean"}],"minItems":2,"items":false})",
         {"[1,true]"}, {"[]", "[1]", "[1,true,null]"});
  Expect(R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"});
}

TEST(JsonSchema, ReferencesMayLeadBack) {
  Expect(R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","required":["v"],"additionalProperties":false,
             "properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}}}}})",
         {R"({"v":1})", R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"},
         {R"({"next":null})", R"({"v":1,"next":{"v":2,"next":{}}})"});
  Expect(R"({"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"integer"}]})", {"[[1],[[2,3]],[]]", "4"},
         {"[[1]", "[true]"});
}

TEST(JsonSchema, SchemasThatHoldAtOnceAreOne) {
  Expect(R"({"allOf":[{"$ref":"#/$defs/base"},{"properties":{"b":{"type":"string"}},"required":["b"]}],
             "$defs":{"base":{"type":"object","properties":{"a":{"type":"integer","minimum":3}},"required":["a"]}},
             "properties":{"a":{"type":"number","maximum":5}}})",
         {R"({"a":4,"b":"x"})", R"({"a":3,"b":""})"}, {R"({"a":2,"b":"x"})", R"({"a":6,"b":"x"})", R"({"a":4})"});
  Expect(R"({"type":"object","properties":{"k":{"type":"integer"}},"required":["k"],
             "oneOf":[{"properties":{"k":{"const":1}}},{"properties":{"k":{"const":"two"}}}]})",
         {R"({"k":1})"}, {R"({"k":2})", R"({"k":"two"})"});
}

TEST(JsonSchema, TypesAndConstants) {
  Expect(R"({"type":["string","null"]})", {R"("x")", "null"}, {"1", "true"});
  Expect(R"({"const":{"a":[1,"\n"]}})", {R"({"a":[1,"\n"]})"}, {"{}", R"({"a":[1]})"});
  Expect(R"({"type":"integer","enum":[1,"a",2.5,3.0]})", {"1", "3.0"}, {R"("a")", "2.5"});
  Expect("true", {"1", R"({"a":{}})", "[[]]", R"("x")"}, {"", "{", "tru"});
  Expect(R"({"title":"t","description":"d","default":3,"examples":[],"$schema":"s","$id":"i"})", {"7"}, {"x"});
}

TEST(JsonSchema, AnyObjectIsJson) {
  const auto grammar = *Grammar::Compile(AnyJsonObject(), ByteTokens());
  EXPECT_TRUE(Matches(grammar, R"({"a": [1, 2.5, {"b": null}], "c": "\u00e4"})"));
  EXPECT_FALSE(Matches(grammar, "[1]"));
  EXPECT_FALSE(Matches(grammar, R"({"a":1,})"));
}

// Random walks over the masks: whatever is allowed leads to JSON that a parser takes.
TEST(JsonSchema, EveryWalkEndsInJsonThatFits) {
  const auto grammar = Compiled(R"({"type":"object","properties":{"id":{"type":"integer","minimum":10,"maximum":99},
      "tags":{"type":"array","items":{"type":"string","maxLength":2},"maxItems":2},"x":{"type":"number"}},
      "required":["id","tags"],"additionalProperties":false})");
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Matcher matcher(grammar);
    std::string text;
    while (!matcher.MustEnd()) {
      std::vector<uint64_t> mask(5);
      ASSERT_TRUE(matcher.FillMask(std::span(mask)).ok());
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < 256; ++token) {
        if (mask[token / 64] >> (token % 64) & 1) allowed.push_back(token);
      }
      ASSERT_FALSE(allowed.empty()) << text;
      const int32_t token = allowed[random() % allowed.size()];
      ASSERT_TRUE(matcher.Accept(token).ok());
      text.push_back(static_cast<char>(token));
    }
    const absl::StatusOr<Json> json = ParseJson(text);
    ASSERT_TRUE(json.ok()) << json.status() << ": " << text;
    EXPECT_GE((*json)["id"], 10);
    EXPECT_LE((*json)["id"], 99);
    EXPECT_LE((*json)["tags"].size(), 2u);
  }
}

TEST(JsonSchema, WhatIsNotSupportedIsNamedWithItsPath) {
  const auto error = [](std::string_view schema) { return CompileError(ParseJsonSchema(schema)); };
  EXPECT_THAT(error("{"), HasSubstr("line 1, column 2"));
  EXPECT_THAT(error(R"({"properties":{"a":{"multipleOf":3}}})"), HasSubstr("at #/properties/a: 'multipleOf'"));
  EXPECT_THAT(error(R"({"type":"array","items":{"uniqueItems":true}})"), HasSubstr("at #/items: 'uniqueItems'"));
  EXPECT_THAT(error(R"({"not":{}})"), HasSubstr("'not' is not supported"));
  EXPECT_THAT(error(R"({"format":"email"})"), HasSubstr("format \"email\" is not supported"));
  EXPECT_THAT(error(R"j({"pattern":"(?=a)"})j"), HasSubstr("pattern: line 1, column 1: lookaround"));
  EXPECT_THAT(error(R"({"type":"text"})"), HasSubstr("unknown \"text\""));
  EXPECT_THAT(error(R"({"$ref":"http://x/y"})"), HasSubstr("want '#' or a path"));
  EXPECT_THAT(error(R"({"$ref":"#/$defs/x"})"), HasSubstr("leads nowhere"));
  EXPECT_THAT(error(R"({"allOf":[{"$ref":"#"}]})"), HasSubstr("lead back to themselves"));
  EXPECT_THAT(error(R"({"$ref":"#"})"), HasSubstr("no finite text"));
  EXPECT_THAT(error(R"({"type":"number","minimum":0.5})"), HasSubstr("minimum 0.5"));
  EXPECT_THAT(error(R"({"type":"string","minLength":5,"maxLength":3})"), HasSubstr("no finite text"));
  EXPECT_THAT(error(R"({"type":"string","minLength":-1})"), HasSubstr("minLength is -1"));
  EXPECT_THAT(error(R"({"type":"string","pattern":"a","minLength":1})"), HasSubstr("more than one of pattern"));
  EXPECT_THAT(error("[]"), HasSubstr("want a schema"));
}

TEST(JsonSchema, HostileSchemasGetAStatus) {
  std::string nested = "{}";
  for (int i = 0; i < 100; ++i) nested = absl::StrCat(R"({"items":)", nested, "}");
  EXPECT_THAT(CompileError(ParseJsonSchema(nested)), HasSubstr("deeper"));
  // Each level would double the last one's.
  std::string doubled = R"({"type":"integer"})";
  for (int i = 0; i < 20; ++i) doubled = absl::StrCat(R"({"properties":{"a":)", doubled, R"(},"minItems":1})");
  EXPECT_EQ(CompileError(ParseJsonSchema(doubled)), "");
  std::string chain = R"({"$ref":"#/$defs/d0","type":"object","$defs":{)";
  for (int i = 0; i < 14; ++i) {
    absl::StrAppend(&chain, "\"d", i, R"(":{"allOf":[{"$ref":"#/$defs/d)", i + 1, R"("},{"$ref":"#/$defs/d)", i + 1,
                    "\"}]},");
  }
  EXPECT_THAT(CompileError(ParseJsonSchema(chain + R"("d14":{}}})")), HasSubstr("too many schemas that hold at once"));
  std::string wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 200; ++i) absl::StrAppend(&wide, i == 0 ? "" : ",", "\"p", i, R"(":{"type":"integer"})");
  EXPECT_EQ(CompileError(ParseJsonSchema(wide + "}}")), "");
}

}  // namespace
}  // namespace tandem::grammar
