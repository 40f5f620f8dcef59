#include "training/json_locate.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(LocateJson, TheEmptyPathIsTheDocumentAfterItsLeadingSpace) {
  EXPECT_EQ(LocateJson("  {}", {}), 2u);
}

TEST(LocateJson, AMemberIsFoundAtItsKey) {
  EXPECT_EQ(LocateJson(R"({"a": 1, "b": 2})", {"b"}), 9u);
}

TEST(LocateJson, AnElementIsFoundAtItsValue) {
  EXPECT_EQ(LocateJson(R"([10, [1, 2], "x"])", {size_t{2}}), 13u);
}

TEST(LocateJson, StepsIntoNestedValues) {
  const std::string_view text = R"({"messages": [{"role": "user"}, {"role": 3}]})";
  EXPECT_EQ(LocateJson(text, {"messages", size_t{1}, "role"}), text.rfind("\"role\""));
}

TEST(LocateJson, BracketsAndQuotesInsideStringsAreNoStructure) {
  const std::string_view text = R"({"a": "}],\"{[", "b": 1})";
  EXPECT_EQ(LocateJson(text, {"b"}), text.find("\"b\""));
}

TEST(LocateJson, AKeyWrittenWithEscapesIsFound) {
  EXPECT_EQ(LocateJson(R"({"x": 0, "\u0061": 1})", {"a"}), 9u);
}

TEST(LocateJson, OfAKeyWrittenTwiceTheLastCounts) {
  EXPECT_EQ(LocateJson(R"({"a": 1, "a": 2})", {"a"}), 9u);
}

TEST(LocateJson, APathThatLeadsNowhereStopsAtItsDeepestPart) {
  const std::string_view text = R"({"messages": [{"role": "user"}]})";
  EXPECT_EQ(LocateJson(text, {"messages", size_t{0}, "content"}), text.find("{\"role\""));
  EXPECT_EQ(LocateJson(text, {"messages", size_t{7}}), 1u);
}

TEST(LocateJson, TextThatIsNoJsonGivesSomeOffsetInside) {
  for (const std::string_view text : {"", "{", "{\"a", "{\"a\"", "[", "[1", "{\"a\":", "\"\\"}) {
    EXPECT_LE(LocateJson(text, {"a"}), text.size());
    EXPECT_LE(LocateJson(text, {size_t{3}}), text.size());
  }
}

}  // namespace
}  // namespace tandem
