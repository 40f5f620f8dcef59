#include "base/trace.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string Refusal(const std::string& text) {
  const auto trace = ParseTrace("t.csv", text);
  EXPECT_TRUE(absl::IsInvalidArgument(trace.status())) << text;
  return std::string(trace.status().message());
}

TEST(TraceTest, CsvWithAndWithoutHeadingsAndJsonLinesSayTheSame) {
  for (const char* text : {"arrival,prompt,output\n0.5,10,3\n1.25,7,2,support\n", "0.5,10,3\n1.25,7,2,support",
                           R"({"arrival":0.5,"prompt_tokens":10,"output_tokens":3})"
                           "\n"
                           R"({"arrival":1.25,"prompt_tokens":7,"output_tokens":2,"adapter":"support"})"}) {
    const auto trace = ParseTrace("t", text);
    ASSERT_TRUE(trace.ok()) << trace.status();
    ASSERT_EQ(trace->size(), 2);
    EXPECT_EQ((*trace)[0].arrival, absl::Milliseconds(500));
    EXPECT_EQ((*trace)[1].prompt_tokens, 7);
    EXPECT_EQ((*trace)[1].output_tokens, 2);
    EXPECT_EQ((*trace)[1].adapter, "support");
  }
}

TEST(TraceTest, HolesAreRefusedWithTheLine) {
  EXPECT_THAT(Refusal("0,10,3\n\n1,10,3\n"), HasSubstr("t.csv:2"));
  EXPECT_THAT(Refusal("0,10,3\n1,,3\n"), HasSubstr("t.csv:2"));
  EXPECT_THAT(Refusal("0,10\n"), HasSubstr("t.csv:1"));
  EXPECT_THAT(Refusal(R"({"arrival":0,"prompt_tokens":10})"), HasSubstr("t.csv:1"));
}

TEST(TraceTest, ArrivalsOutOfOrderAreRefusedWithTheLine) {
  EXPECT_THAT(Refusal("0,10,3\n2,10,3\n1,10,3\n"), HasSubstr("t.csv:3"));
  EXPECT_THAT(Refusal("-1,10,3\n"), HasSubstr("t.csv:1"));
}

TEST(TraceTest, ArrivalsThatNeverComeAreRefused) {
  for (const char* text : {"0,1,1\ninf,1,1", "0,1,1\nnan,1,1", "0,1,1\n1e300,1,1"}) {
    EXPECT_THAT(Refusal(text), HasSubstr("t.csv:2: arrival is not finite")) << text;
  }
}

TEST(TraceTest, LengthsBelowOneAndNonsenseAreRefused) {
  EXPECT_THAT(Refusal("0,0,3\n"), HasSubstr("at least 1"));
  EXPECT_THAT(Refusal("0,x,3\n"), HasSubstr("want integers"));
  EXPECT_THAT(Refusal(""), HasSubstr("no request"));
}

}  // namespace
}  // namespace tandem
