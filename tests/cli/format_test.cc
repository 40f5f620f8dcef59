#include "cli/format.h"

#include <limits>

#include "cli/terminal.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(SparklineTest, ScalesBetweenLeastAndGreatest) {
  EXPECT_EQ(Sparkline({8, 7, 6, 5, 4, 3, 2, 1}, 8), "█▇▆▅▄▃▂▁");
  EXPECT_EQ(Sparkline({0, 100}, 8), "▁█");
}

TEST(SparklineTest, MoreValuesThanColumnsAreAveraged) {
  EXPECT_EQ(Sparkline({0, 2, 10, 10, 5, 6}, 3), "▁█▅");
}

TEST(SparklineTest, AConstantIsALineInTheMiddle) {
  EXPECT_EQ(Sparkline({3, 3, 3}, 8), "▅▅▅");
}

TEST(SparklineTest, WhatIsNotFiniteLeavesAGap) {
  EXPECT_EQ(Sparkline({1, kNan, 2}, 8), "▁ █");
  EXPECT_EQ(Sparkline({kNan}, 8), " ");
}

TEST(SparklineTest, NothingGivesNothing) {
  EXPECT_EQ(Sparkline({}, 8), "");
  EXPECT_EQ(Sparkline({1, 2}, 0), "");
}

TEST(BarTest, FillsInEighthsAndKeepsItsWidth) {
  EXPECT_EQ(Bar(0, 4), "    ");
  EXPECT_EQ(Bar(0.5, 4), "██  ");
  EXPECT_EQ(Bar(0.28125, 4), "█▏  ");
  EXPECT_EQ(Bar(1, 4), "████");
}

TEST(BarTest, ClampsWhatIsNoFraction) {
  EXPECT_EQ(Bar(2, 2), "██");
  EXPECT_EQ(Bar(-1, 2), "  ");
  EXPECT_EQ(Bar(kNan, 2), "  ");
}

TEST(FormatTest, Counts) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(999.7), "1.0k");
  EXPECT_EQ(FormatCount(12345), "12.3k");
  EXPECT_EQ(FormatCount(5e6), "5.0M");
  EXPECT_EQ(FormatCount(8.03e12), "8030.0G");
  EXPECT_EQ(FormatCount(kNan), "-");
}

TEST(FormatTest, Clocks) {
  EXPECT_EQ(FormatClock(absl::Seconds(7)), "0:07");
  EXPECT_EQ(FormatClock(absl::Seconds(760)), "12:40");
  EXPECT_EQ(FormatClock(absl::Seconds(11100)), "3:05:00");
  EXPECT_EQ(FormatClock(-absl::Seconds(1)), "0:00");
}

TEST(FormatTest, Ages) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  EXPECT_EQ(FormatAge(now - absl::Seconds(59), now), "59s");
  EXPECT_EQ(FormatAge(now - absl::Minutes(59), now), "59m");
  EXPECT_EQ(FormatAge(now - absl::Hours(23), now), "23h");
  EXPECT_EQ(FormatAge(now - absl::Hours(50), now), "2d");
  EXPECT_EQ(FormatAge(absl::UnixEpoch(), now), "-");
}

TEST(FormatTest, TruncatesByCharacters) {
  EXPECT_EQ(Truncate("Grüße", 4), "Grüß");
  EXPECT_EQ(Truncate("abc", 10), "abc");
  EXPECT_EQ(Truncate("abc", 0), "");
}

TEST(TableTest, ColumnsAreAlignedAndTwoApart) {
  Table table({{"NAME"}, {"STEP", Align::kRight}, {"STATE"}});
  table.AddRow({"support", "5/10", "running"});
  table.AddRow({"ä", "120/120", "ok"});
  EXPECT_EQ(table.Render(Terminal{}),
            "NAME        STEP  STATE\n"
            "support     5/10  running\n"
            "ä        120/120  ok\n");
}

TEST(TableTest, ColoursDoNotShiftColumns) {
  const Terminal terminal{.interactive = true, .color = true};
  Table table({{"A"}, {"B"}});
  table.AddRow({Paint(terminal, Style::kGreen, "xx"), "y"});
  EXPECT_EQ(table.Render(terminal), "\x1b[2mA\x1b[0m   \x1b[2mB\x1b[0m\n\x1b[32mxx\x1b[0m  y\n");
}

TEST(FieldsTest, ValuesAreAligned) {
  EXPECT_EQ(RenderFields(Terminal{}, {{"job", "job-1"}, {"adapter", "support"}}), "job      job-1\nadapter  support\n");
}

TEST(PaintTest, OnlyWhereThereIsColour) {
  EXPECT_EQ(Paint(Terminal{}, Style::kRed, "x"), "x");
  EXPECT_EQ(Paint(Terminal{.interactive = true, .color = true}, Style::kRed, "x"), "\x1b[31mx\x1b[0m");
}

TEST(DisplayWidthTest, CountsCharactersAndNoEscapes) {
  EXPECT_EQ(DisplayWidth("Grüße"), 5);
  EXPECT_EQ(DisplayWidth("\x1b[31mred\x1b[0m"), 3);
}

TEST(HarmlessTest, ControlCharactersAreReplaced) {
  EXPECT_EQ(Harmless("a\x1b[2Jb\n\tc"), "a\xEF\xBF\xBD[2Jb\n\tc");
  EXPECT_EQ(Harmless("\xC2\x9B"
                     "x"),
            "\xEF\xBF\xBDx");  // U+009B, CSI in one character
  EXPECT_EQ(Harmless("Grüße é"), "Grüße é");
}

}  // namespace
}  // namespace tandem
