#include "base/names.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(EditDistanceTest, CountsInsertionsDeletionsAndSubstitutions) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", "abc"), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("suport", "support"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("q_proj", "k_proj"), 1);
}

TEST(EditDistanceTest, IsSymmetric) {
  EXPECT_EQ(EditDistance("sunday", "saturday"), EditDistance("saturday", "sunday"));
}

TEST(NearestNamesTest, NearestComesFirst) {
  EXPECT_THAT(NearestNames("q_prj", {"k_proj", "q_proj", "lm_head"}), ElementsAre("q_proj", "k_proj"));
}

TEST(NearestNamesTest, NothingFarAwayIsOffered) {
  EXPECT_THAT(NearestNames("embedding", {"q_proj", "k_proj"}), IsEmpty());
}

TEST(NearestNamesTest, ABeginningIsNearHoweverShort) {
  EXPECT_THAT(NearestNames("max", {"max_prefill_rows", "seed"}), ElementsAre("max_prefill_rows"));
}

TEST(NearestNamesTest, ATextOfAnyLengthIsNoSlipOfAName) {
  EXPECT_THAT(NearestNames("user" + std::string(10'000'000, 'r'), {"user", "system"}), IsEmpty());
}

TEST(NearestNamesTest, StopsAtTheLimit) {
  EXPECT_THAT(NearestNames("a", {"a1", "a2", "a3", "a4"}), ElementsAre("a1", "a2", "a3"));
  EXPECT_THAT(NearestNames("a", {"a1", "a2"}, 1), ElementsAre("a1"));
}

TEST(NearestNamesTest, AnEmptyNameIsNotTheBeginningOfEveryName) {
  EXPECT_THAT(NearestNames("", {"max_prefill_rows"}), IsEmpty());
}

TEST(SuggestNamesTest, OffersWhatIsNear) {
  EXPECT_EQ(SuggestNames("suport", {"support", "other"}), "; did you mean 'support'?");
  EXPECT_EQ(SuggestNames("q_prj", {"q_proj", "k_proj"}), "; did you mean 'q_proj' or 'k_proj'?");
}

TEST(SuggestNamesTest, ListsWhatThereIsWhereNothingIsNear) {
  EXPECT_EQ(SuggestNames("zzzzzz", {"support", "billing"}), "; known: support, billing");
}

TEST(SuggestNamesTest, ListsAtMostEight) {
  std::vector<std::string> names;
  for (int i = 0; i < 9; ++i) names.push_back("name" + std::to_string(i));
  EXPECT_EQ(SuggestNames("zzzzzzzzz", names), "; known: name0, name1, name2, name3, name4, name5, name6, name7, ...");
  names.pop_back();
  EXPECT_EQ(SuggestNames("zzzzzzzzz", names), "; known: name0, name1, name2, name3, name4, name5, name6, name7");
}

TEST(SuggestNamesTest, SaysNothingWhereThereIsNothing) {
  EXPECT_EQ(SuggestNames("a", {}), "");
}

}  // namespace
}  // namespace tandem
