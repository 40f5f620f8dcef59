#include "base/json.h"

#include <string>

#include "gmock/gmock.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ParseError(std::string_view text) {
  const absl::StatusOr<Json> json = ParseJson(text);
  EXPECT_EQ(json.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(json.status().message());
}

template <typename T>
std::string GetError(const Json& object, std::string_view key, std::optional<T> fallback = std::nullopt) {
  const absl::StatusOr<T> value = JsonGet<T>(object, key, fallback);
  EXPECT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument) << object << " " << key;
  return std::string(value.status().message());
}

TEST(ParseJsonTest, ReadsADocument) {
  const Json json = *ParseJson(R"({"a": [1, -2.5, "x\u00e9", true, null]})");
  EXPECT_EQ(json["a"].size(), 5);
  EXPECT_EQ(json["a"][2], "xé");
}

TEST(ParseJsonTest, ErrorsCarryLineColumnAndReason) {
  EXPECT_THAT(ParseError("{\"a\": 1,\n \"b\": oops}"), StartsWith("line 2, column 7: syntax error"));
  EXPECT_THAT(ParseError("[1, 2"), StartsWith("line 1, column 6: "));
  EXPECT_THAT(ParseError(""), StartsWith("line 1, column 1: "));
}

TEST(ParseJsonTest, RefusesWhatFollowsTheDocument) {
  EXPECT_THAT(ParseError("{} {}"), StartsWith("line 1, column 4: "));
}

TEST(ParseJsonTest, RefusesInvalidUtf8) {
  ParseError("\"\xC3(\"");
}

TEST(ParseJsonTest, RefusesANumberThatOverflows) {
  EXPECT_THAT(ParseError("1e999"), HasSubstr("1e999"));
}

TEST(ParseJsonTest, AcceptsTheDeepestNestingAndRefusesOneMore) {
  EXPECT_TRUE(ParseJson(std::string(256, '[') + std::string(256, ']')).ok());
  EXPECT_EQ(ParseError(std::string(257, '[') + std::string(257, ']')), "nested deeper than 256 levels");
  EXPECT_EQ(ParseError(std::string(10'000'000, '[')), "nested deeper than 256 levels");
}

TEST(ParseJsonTest, BracketsWithinStringsAreNotNesting) {
  const std::string brackets = std::string(300, '[') + "\\\"" + std::string(300, '{');
  EXPECT_TRUE(ParseJson("\"" + brackets + "\"").ok());
}

TEST(JsonGetTest, ReadsEachType) {
  const Json json = {{"b", true}, {"i", -3}, {"d", 2.5}, {"s", "x"}};
  EXPECT_EQ(*JsonGet<bool>(json, "b"), true);
  EXPECT_EQ(*JsonGet<int64_t>(json, "i"), -3);
  EXPECT_EQ(*JsonGet<double>(json, "d"), 2.5);
  EXPECT_EQ(*JsonGet<std::string>(json, "s"), "x");
}

TEST(JsonGetTest, AnIntegerIsANumberButNotTheOtherWayRound) {
  const Json json = {{"i", 3}, {"d", 3.0}};
  EXPECT_EQ(*JsonGet<double>(json, "i"), 3.0);
  EXPECT_EQ(GetError<int64_t>(json, "d"), "d is the number 3.0, want an integer");
}

TEST(JsonGetTest, AnIntegerAbove63BitsIsRefused) {
  const Json json = *ParseJson(R"({"ok": 9223372036854775807, "big": 9223372036854775808})");
  EXPECT_EQ(*JsonGet<int64_t>(json, "ok"), INT64_MAX);
  EXPECT_EQ(GetError<int64_t>(json, "big"), "big is the number 9223372036854775808, want an integer");
}

TEST(JsonGetTest, MissingAndNullTakeTheFallbackOrAreRefused) {
  const Json json = {{"null", nullptr}};
  for (const char* key : {"null", "absent"}) {
    EXPECT_EQ(*JsonGet<int64_t>(json, key, 7), 7);
    EXPECT_EQ(GetError<int64_t>(json, key), std::string(key) + " is missing, want an integer");
  }
}

TEST(JsonGetTest, AWrongTypeIsRefusedWhateverTheFallback) {
  const Json json = {{"v", "12"}};
  EXPECT_EQ(GetError<int64_t>(json, "v", 7), "v is the string '12', want an integer");
  EXPECT_EQ(GetError<bool>(json, "v", true), "v is the string '12', want true or false");
  EXPECT_EQ(GetError<double>(json, "v", 1.0), "v is the string '12', want a number");
  EXPECT_EQ(GetError<std::string>({{"v", 1}}, "v", "x"), "v is the number 1, want a string");
}

TEST(JsonGetTest, ReadsFromObjectsOnly) {
  EXPECT_EQ(GetError<int64_t>(Json::array({1}), "v"), "an array, want an object with v");
}

TEST(DescribeJsonTest, SaysWhatAValueIs) {
  EXPECT_EQ(DescribeJson(nullptr), "null");
  EXPECT_EQ(DescribeJson(Json::object()), "an object");
  EXPECT_EQ(DescribeJson(Json::array()), "an array");
  EXPECT_EQ(DescribeJson(true), "true");
  EXPECT_EQ(DescribeJson(-3), "the number -3");
  EXPECT_EQ(DescribeJson("x"), "the string 'x'");
  EXPECT_EQ(DescribeJson(std::string(41, 'x')), "a string");
}

}  // namespace
}  // namespace tandem
