// Guesses as rows: who gets them, and when they pay.
#include "sched/drafts.h"

#include <gtest/gtest.h>

#include "sched/coserving.h"
#include "sched/machine.h"
#include "sched/offers.h"

namespace tandem {
namespace {

Offer Guessing(SequenceId id, int drafts, double acceptance) {
  Offer offer = Decode(id);
  offer.ready_rows += drafts;
  offer.drafts = drafts;
  offer.draft_acceptance = acceptance;
  return offer;
}

class DraftsTest : public testing::Test {
 protected:
  std::string PlanOf(std::vector<Offer> offers, const CostModel* cost = nullptr, int free_blocks = 100) {
    SchedulerInput input{.num_blocks = 100, .free_blocks = free_blocks, .num_layers = 4, .cost = cost};
    input.inference.spans = std::move(offers);
    return ToString(PlanCoserving(options_, input));
  }
  SchedulerOptions options_;
  // Eight rows cost what one does: reading the weights. From there on each row costs the same.
  const CostModel cost_ = Machine().Profiled();
};

TEST_F(DraftsTest, WithoutACostModelThoseThatAreLikelyRight) {
  EXPECT_EQ(PlanOf({Guessing(1, 6, 0.4)}), "1:1 | |");
  EXPECT_EQ(PlanOf({Guessing(1, 6, 0.8)}), "1:4 | |");  // 0.8^3 is more than a half, 0.8^4 is not
  EXPECT_EQ(PlanOf({Guessing(1, 6, 1)}), "1:7 | |");
}

TEST_F(DraftsTest, WhileTheWeightsAreReadAnywayEvenDoubtfulOnesPay) {
  EXPECT_EQ(PlanOf({Guessing(1, 4, 0.7)}, &cost_), "1:5 | |");
}

TEST_F(DraftsTest, WhereRowsCostWhatTheyBringNoneDo) {
  std::vector<Offer> offers;
  std::string want;
  for (int i = 1; i <= 40; ++i) {
    offers.push_back(Guessing(i, 8, 0.5));
    want += (i > 1 ? " " : "") + std::to_string(i) + ":1";
  }
  EXPECT_EQ(PlanOf(offers, &cost_), want + " | |");
}

TEST_F(DraftsTest, WhereNobodyWeighsThemThoseThatAreLikelyRightWhateverTheyCost) {
  options_.weigh_drafts = false;
  std::vector<Offer> offers;
  std::string want;
  for (int i = 1; i <= 40; ++i) {
    offers.push_back(Guessing(i, 8, 0.8));
    want += (i > 1 ? " " : "") + std::to_string(i) + ":4";
  }
  EXPECT_EQ(PlanOf(offers, &cost_), want + " | |");
}

TEST_F(DraftsTest, MoreAreTakenTheBetterTheyAre) {
  int last = 0;
  for (const double acceptance : {0.02, 0.6, 0.99}) {
    std::vector<Offer> offers{Guessing(1, 24, acceptance)};
    SchedulerInput input{.num_blocks = 100, .free_blocks = 100, .num_layers = 4, .cost = &cost_};
    input.inference.spans = offers;
    const int rows = PlanCoserving(options_, input).inference.spans.at(0).num_rows;
    EXPECT_GT(rows, last) << acceptance;
    last = rows;
  }
  EXPECT_EQ(last, 25);
}

TEST_F(DraftsTest, EveryDecodeAndPrefillComesBeforeThem) {
  options_.max_batch_rows = 12;
  options_.max_running_requests = 12;
  EXPECT_EQ(PlanOf({Guessing(1, 8, 1), Decode(2), Prefill(3, 6), Guessing(4, 8, 1)}), "1:4 2:1 4:1 3:6 | |");
}

TEST_F(DraftsTest, ABlockThatSomebodyWillNeedNextIsNotTakenForThem) {
  Offer guessing = Guessing(1, 4, 1);
  guessing.blocks_for_drafts = 1;
  guessing.blocks_to_end = 3;
  Offer other = Decode(2);
  other.blocks_to_end = 3;
  EXPECT_EQ(PlanOf({guessing, other}, nullptr, 2), "1:1 2:1 | |");
  EXPECT_EQ(PlanOf({guessing, other}, nullptr, 3), "1:5 2:1 | |");
}

TEST_F(DraftsTest, NobodyIsPreemptedForThem) {
  Offer guessing = Guessing(1, 4, 1);
  guessing.blocks_for_drafts = 1;
  EXPECT_EQ(PlanOf({guessing, Decode(2)}, nullptr, 0), "1:1 2:1 | |");
}

}  // namespace
}  // namespace tandem
