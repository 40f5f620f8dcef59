#include "sched/slo.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sched/coserving.h"
#include "sched/machine.h"
#include "sched/offers.h"
#include "sched/policies.h"

namespace tandem {
namespace {

// A decode step of one row takes about 53 ms, a forward row beyond eight of them 6 ms, a backward unit of 16 rows 5 ms.
class SloTest : public testing::Test {
 protected:
  SloTest() : cost_(Machine().Profiled()) {
    options_.max_iteration = absl::Seconds(1);
    input_.num_blocks = input_.free_blocks = 1000;
    input_.num_layers = 22;
    input_.now = At(100);
    input_.cost = &cost_;
  }

  // A decode whose next token is due in `slack`.
  static Offer DueIn(SequenceId id, absl::Duration slack, absl::Duration tpot) {
    Offer offer = Decode(id);
    offer.due = At(100) + slack;
    offer.tpot = tpot;
    return offer;
  }
  static Offer PrefillDueIn(SequenceId id, int rows, absl::Duration slack) {
    Offer offer = Prefill(id, rows);
    offer.due = At(100) + slack;
    return offer;
  }

  // Seconds of what was planned.
  double Planned(const Plan& plan) const {
    StepFeatures f;
    for (const SpanGrant& grant : plan.inference.spans) {
      const auto offer = std::find_if(input_.inference.spans.begin(), input_.inference.spans.end(),
                                      [&](const Offer& o) { return o.sequence == grant.sequence; });
      f.AddSpan(offer->kind, grant.num_rows, offer->first_position);
      f.samples += grant.num_rows == offer->ready_rows;
    }
    for (const SpanGrant& grant : plan.training.spans) {
      f.AddSpan(SpanKind::kTrainForward, grant.num_rows, 0);
      f.AddLoss(grant.num_rows);
    }
    for (const BackwardGrant& grant : plan.training.backward) {
      for (int i = 0; i < grant.num_units; ++i) f.AddBackward(16, 0);
    }
    return f.empty() ? 0 : cost_.Seconds(f);
  }
  static int TrainingRows(const Plan& plan) {
    int rows = 0;
    for (const SpanGrant& grant : plan.training.spans) rows += grant.num_rows;
    return rows;
  }
  static int UnitsOf(const Plan& plan) {
    int units = 0;
    for (const BackwardGrant& grant : plan.training.backward) units += grant.num_units;
    return units;
  }

  CostModel cost_;
  SchedulerOptions options_;
  SchedulerInput input_;
};

TEST_F(SloTest, ForwardRowsRideAlongWithADecodeThatReadsTheWeights) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(75), absl::Milliseconds(75))};
  input_.training.spans = {Train(7, 128)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_GE(TrainingRows(plan), 4);
  EXPECT_LE(Planned(plan), 0.9 * 0.075);
}

TEST_F(SloTest, BackwardTakesWhatTheTargetLeaves) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(150), absl::Milliseconds(150))};
  input_.training.backward = {Units(7, 100, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_LE(Planned(plan), 0.9 * 0.150);
  EXPECT_GE(Planned(plan), 0.8 * 0.150 / (1 + cost_.headroom()));
}

TEST_F(SloTest, TheTightestRequestDecides) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(500), absl::Milliseconds(500)),
                            DueIn(2, absl::Milliseconds(90), absl::Milliseconds(90))};
  input_.training.backward = {Units(7, 100, 16)};
  EXPECT_LE(Planned(PlanCoserving(options_, input_)), 0.9 * 0.090);
}

TEST_F(SloTest, ALateRequestLeavesTrainingNothing) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(10), absl::Milliseconds(150))};
  input_.training.spans = {Train(7, 128)};
  input_.training.backward = {Units(8, 100, 16)};
  EXPECT_EQ(ToString(PlanCoserving(options_, input_)), "1:1 | |");
}

TEST_F(SloTest, SlackThatWasBuiltUpMayBeSpent) {
  input_.training.backward = {Units(7, 1000, 16)};
  input_.inference.spans = {DueIn(1, absl::Milliseconds(100), absl::Milliseconds(100))};
  const Plan without = PlanCoserving(options_, input_);
  input_.inference.spans = {DueIn(1, absl::Milliseconds(450), absl::Milliseconds(100))};
  const Plan with = PlanCoserving(options_, input_);
  EXPECT_GT(UnitsOf(with), 2 * UnitsOf(without));
  EXPECT_LE(Planned(with), 0.300);
}

TEST_F(SloTest, APrefillWithADeadlineLimitsTraining) {
  input_.training.backward = {Units(7, 1000, 16)};
  input_.inference.spans = {PrefillDueIn(1, 64, absl::Milliseconds(500))};  // takes 390 ms
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_LE(Planned(plan), 0.390 + 0.060);
  input_.inference.spans = {PrefillDueIn(1, 64, absl::Milliseconds(300))};
  EXPECT_EQ(UnitsOf(PlanCoserving(options_, input_)), 0);
}

TEST_F(SloTest, PrefillIsCutSoThatDecodesComeInTime) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(250), absl::Milliseconds(250)), Prefill(2, 500)};
  const Plan plan = PlanCoserving(options_, input_);
  ASSERT_EQ(plan.inference.spans.size(), 2);
  EXPECT_LE(Planned(plan), 0.250);
  EXPECT_GE(plan.inference.spans[1].num_rows, 16);
  EXPECT_LT(plan.inference.spans[1].num_rows, 64);
}

TEST_F(SloTest, AloneTrainingKeepsTheIterationShort) {
  options_.max_iteration = absl::Milliseconds(250);
  input_.training.spans = {Train(7, 500)};
  input_.training.backward = {Units(8, 1000, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_LE(Planned(plan), 0.250);
  EXPECT_GE(Planned(plan), 0.200);
}

TEST_F(SloTest, WithoutTargetsTheRowBudgetHolds) {
  options_.max_iteration = absl::InfiniteDuration();
  options_.training_rows_beside_inference = 4;
  input_.inference.spans = {Decode(1)};
  input_.training.spans = {Train(7, 500)};
  EXPECT_EQ(ToString(PlanCoserving(options_, input_)), "1:1 | 7:4 |");
}

TEST_F(SloTest, TheFloorHoldsUnderPressure) {
  options_.training_floor_rows = 2;
  input_.inference.spans = {DueIn(1, absl::Milliseconds(10), absl::Milliseconds(150))};
  input_.training.spans = {Train(7, 128)};
  EXPECT_EQ(ToString(PlanCoserving(options_, input_)), "1:1 | 7:2 |");
}

TEST_F(SloTest, AUnitThatFitsIntoNoBudgetIsForcedAfterAWhileWhereNothingPresses) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(100), absl::Milliseconds(100))};
  input_.training.backward = {Units(7, 10, 4096)};
  EXPECT_EQ(UnitsOf(PlanCoserving(options_, input_)), 0);
  input_.starved_iterations = 1000;
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_EQ(UnitsOf(plan), 1);
  EXPECT_TRUE(plan.forced_unit);
  input_.inference.spans = {DueIn(1, absl::Milliseconds(60), absl::Milliseconds(60))};
  EXPECT_EQ(UnitsOf(PlanCoserving(options_, input_)), 0) << "forced although inference is pressed";
}

TEST_F(SloTest, AUnitThatLiesBehindALongContextIsPlannedAtItsCost) {
  Machine machine;
  machine.backward_pair = 2e-6;
  cost_ = machine.Profiled();
  input_.inference.spans = {DueIn(1, absl::Milliseconds(150), absl::Milliseconds(150))};
  input_.training.backward = {{.job = 7, .sequence = 7, .units = std::vector<TokenWindow>(100, {0, 16})}};
  const int near = UnitsOf(PlanCoserving(options_, input_));
  input_.training.backward = {{.job = 7, .sequence = 7, .units = std::vector<TokenWindow>(100, {448, 464})}};
  const int far = UnitsOf(PlanCoserving(options_, input_));
  EXPECT_GT(far, 0);
  EXPECT_LT(far, near / 2) << "the positions of units were ignored";
}

TEST_F(SloTest, ForwardRowsThatDoNotRideAlongWaitForBackward) {
  // A decode of 16 rows is bound by arithmetic: nothing rides.
  for (int i = 1; i <= 16; ++i) {
    input_.inference.spans.push_back(DueIn(i, absl::Milliseconds(200), absl::Milliseconds(200)));
  }
  input_.training.spans = {Train(30, 128)};
  input_.training.backward = {Units(31, 100, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_EQ(TrainingRows(plan), 0);
  EXPECT_GT(UnitsOf(plan), 0);
  input_.training.backward.clear();
  EXPECT_GT(TrainingRows(PlanCoserving(options_, input_)), 0) << "nothing else to do";
}

TEST_F(SloTest, ForwardThatFitsIntoNoBudgetIsForcedToo) {
  input_.inference.spans = {DueIn(1, absl::Milliseconds(150), absl::Milliseconds(150))};
  Offer far = Train(7, 128);
  far.first_position = 100'000'000;  // attention to that takes seconds
  input_.training.spans = {far};
  ASSERT_EQ(TrainingRows(PlanCoserving(options_, input_)), 0);
  input_.starved_iterations = 1000;
  EXPECT_EQ(TrainingRows(PlanCoserving(options_, input_)), 16);
}

TEST_F(SloTest, WhereTokensTakeNearlyTheirTargetSlackComesFirst) {
  input_.training.spans = {Train(7, 128)};
  input_.inference.spans = {DueIn(1, absl::Milliseconds(65), absl::Milliseconds(65))};
  EXPECT_EQ(TrainingRows(PlanCoserving(options_, input_)), 0);
  input_.inference.spans = {DueIn(1, absl::Milliseconds(65 * 5), absl::Milliseconds(65))};
  EXPECT_GT(TrainingRows(PlanCoserving(options_, input_)), 0);
}

TEST_F(SloTest, PredictionsForALoneRequest) {
  EXPECT_NEAR(absl::ToDoubleSeconds(PredictTtft(cost_, options_, 300)), 300 * 6e-3, 0.1);
  EXPECT_NEAR(absl::ToDoubleSeconds(PredictTpot(cost_, 100)), 0.053, 0.003);
}

TEST_F(SloTest, TemporalTrainsEveryNthIterationAlone) {
  options_.temporal_every = 2;
  input_.inference.spans = {Decode(1)};
  input_.training.spans = {Train(7, 8)};
  std::string turns;
  for (input_.iteration = 0; input_.iteration < 6; ++input_.iteration) {
    turns += ToString(PlanTemporal(options_, input_)) + ";";
  }
  EXPECT_EQ(turns, "1:1 | |;1:1 | |;| 7:8 |;1:1 | |;1:1 | |;| 7:8 |;");
}

TEST_F(SloTest, DynamicTemporalTrainsRarerWithMoreRequests) {
  options_.temporal_every = 4;
  input_.training.spans = {Train(7, 8)};
  const auto trained = [&] {
    int count = 0;
    for (input_.iteration = 0; input_.iteration < 100; ++input_.iteration) {
      count += PlanDynamicTemporal(options_, input_).training.spans.size();
    }
    return count;
  };
  input_.inference.spans = {Decode(1)};
  const int few = trained();
  for (int i = 2; i <= 16; ++i) input_.inference.spans.push_back(Decode(i));
  EXPECT_GT(few, 2 * trained());
}

TEST_F(SloTest, StaticSplitGivesEachItsShareAndNoMore) {
  options_ = {.max_batch_rows = 16, .max_prefill_rows = 16, .max_running_requests = 8, .static_training_share = 0.25};
  input_.training.spans = {Train(7, 100)};
  EXPECT_EQ(ToString(PlanStaticSplit(options_, input_)), "| 7:4 |");
  input_.inference.spans = {Prefill(1, 100)};
  EXPECT_EQ(ToString(PlanStaticSplit(options_, input_)), "1:12 | 7:4 |");
}

TEST_F(SloTest, OnlyPoliciesRunTheirSideAlone) {
  input_.inference.spans = {Decode(1)};
  input_.training.spans = {Train(7, 8)};
  EXPECT_EQ(ToString(PlanInferenceOnly(options_, input_)), "1:1 | |");
  EXPECT_EQ(ToString(PlanTrainingOnly(options_, input_)), "| 7:8 |");
}

TEST(PoliciesTest, EveryNameIsAPolicyAndOthersAreRefusedWithTheList) {
  for (const std::string& name : PolicyNames()) EXPECT_TRUE(PolicyNamed(name).ok()) << name;
  const absl::Status status = PolicyNamed("fair").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("dynamic_temporal"));
}

}  // namespace
}  // namespace tandem
