#include "inference/stop_checker.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(StopCheckerTest, PassesTextThroughWhereThereIsNothingToStopAt) {
  StopChecker checker({});
  EXPECT_EQ(checker.Append("hello"), "hello");
  EXPECT_EQ(checker.Flush(), "");
  EXPECT_FALSE(checker.stopped());
}

TEST(StopCheckerTest, EndsBeforeAStopStringWithinAPiece) {
  StopChecker checker({"STOP"});
  EXPECT_EQ(checker.Append("one STOP two"), "one ");
  EXPECT_TRUE(checker.stopped());
  EXPECT_EQ(checker.Append("more"), "");
  EXPECT_EQ(checker.Flush(), "");
}

TEST(StopCheckerTest, FindsAStopStringAcrossPieces) {
  StopChecker checker({"\n\nUser:"});
  EXPECT_EQ(checker.Append("yes\n"), "yes");
  EXPECT_EQ(checker.Append("\nUs"), "");
  EXPECT_FALSE(checker.stopped());
  EXPECT_EQ(checker.Append("er: no"), "");
  EXPECT_TRUE(checker.stopped());
}

TEST(StopCheckerTest, ReleasesWhatWasHeldAsSoonAsItCannotBecomeAStopString) {
  StopChecker checker({"abcd"});
  EXPECT_EQ(checker.Append("xab"), "x");
  EXPECT_EQ(checker.Append("c"), "");
  EXPECT_EQ(checker.Append("e"), "abce");
  EXPECT_FALSE(checker.stopped());
}

TEST(StopCheckerTest, KeepsATailThatMayStillStartAnotherMatch) {
  StopChecker checker({"aab"});
  EXPECT_EQ(checker.Append("aa"), "");
  EXPECT_EQ(checker.Append("a"), "a");  // the last two may still become it
  EXPECT_EQ(checker.Append("b"), "");
  EXPECT_TRUE(checker.stopped());
}

TEST(StopCheckerTest, FlushReturnsWhatWasHeldBack) {
  StopChecker checker({"abcd"});
  EXPECT_EQ(checker.Append("xabc"), "x");
  EXPECT_EQ(checker.Flush(), "abc");
  EXPECT_FALSE(checker.stopped());
}

TEST(StopCheckerTest, TheStopStringThatIsCompleteFirstWins) {
  for (const std::vector<std::string>& pieces :
       {std::vector<std::string>{"xabcd"}, {"xab", "cd"}, {"x", "a", "b", "c"}}) {
    StopChecker checker({"abcd", "bc"});
    std::string text;
    for (const std::string& piece : pieces) text += checker.Append(piece);
    EXPECT_TRUE(checker.stopped());
    EXPECT_EQ(text, "xa");
  }
}

TEST(StopCheckerTest, OfTwoThatEndTogetherTheLongestWins) {
  StopChecker checker({"bc", "abc"});
  EXPECT_EQ(checker.Append("xabc"), "x");
  EXPECT_TRUE(checker.stopped());
}

TEST(StopCheckerTest, EmptyStopStringsNeverMatch) {
  StopChecker checker({"", "b"});
  EXPECT_EQ(checker.Append("a"), "a");
  EXPECT_FALSE(checker.stopped());
  EXPECT_EQ(checker.Append("b"), "");
  EXPECT_TRUE(checker.stopped());
}

TEST(StopCheckerTest, HoldsWholeCharactersBack) {
  StopChecker checker({"né!"});
  EXPECT_EQ(checker.Append("né"), "");
  EXPECT_EQ(checker.Append("e"), "née");
}

TEST(StopCheckerTest, ACharacterIsNeverCutByABrokenStopString) {
  StopChecker checker({"\xA9"});  // the second byte of é
  EXPECT_EQ(checker.Append("é"), "é");
  EXPECT_FALSE(checker.stopped());
}

// The definition, byte by byte: where the first complete stop string begins; and the longest tail that may become one.
struct Reference {
  std::string released;
  bool stopped = false;
};
Reference Define(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    for (size_t begin = 0; begin < end; ++begin) {
      for (const std::string& stop : stops) {
        if (text.substr(begin, end - begin) == stop) return {text.substr(0, begin), true};
      }
    }
  }
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (const std::string& stop : stops) {
      if (stop.starts_with(text.substr(begin))) return {text.substr(0, begin), false};
    }
  }
  return {text, false};
}

TEST(StopCheckerTest, AnySplitOfTheTextGivesWhatTheDefinitionGives) {
  std::mt19937 random(5);
  const auto word = [&](int max_length) {
    std::string text(1 + random() % max_length, ' ');
    for (char& c : text) c = "ab"[random() % 2];
    return text;
  };
  int stopped = 0;
  for (int i = 0; i < 5000; ++i) {
    std::vector<std::string> stops;
    for (int n = random() % 4; n > 0; --n) stops.push_back(word(7));
    const std::string text = word(25);
    StopChecker checker(stops);
    std::string seen, released;
    while (seen.size() < text.size()) {
      const std::string piece = text.substr(seen.size(), 1 + random() % 6);
      seen += piece;
      released += checker.Append(piece);
      const Reference want = Define(seen, stops);
      ASSERT_EQ(released, want.released) << seen;
      ASSERT_EQ(checker.stopped(), want.stopped) << seen;
    }
    stopped += checker.stopped();
    released += checker.Flush();
    ASSERT_EQ(released, checker.stopped() ? Define(text, stops).released : text);
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_LT(stopped, 4500);
}

}  // namespace
}  // namespace tandem
