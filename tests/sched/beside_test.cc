#include "sched/beside.h"

#include "gtest/gtest.h"
#include "sched/coserving.h"
#include "sched/machine.h"
#include "sched/offers.h"
#include "sched/policies.h"

namespace tandem {
namespace {

// A decode takes about 53 ms; on half of the cores beside backward 68 ms, a forward row beyond six 11 ms, and a
// backward unit of 16 rows there, at half of the speed, 10 ms.
class BesideTest : public testing::Test {
 protected:
  BesideTest()
      : cost_(Machine().Profiled()),
        beside_(Machine{.read = 65e-3, .row = 11e-3, .head_row = 6e-4, .loss_row = 12e-4}.Profiled()) {
    options_.max_iteration = absl::Seconds(1);
    input_.num_blocks = input_.free_blocks = 1000;
    input_.num_layers = 22;
    input_.now = At(100);
    input_.cost = &cost_;
    input_.beside = &beside_;
  }

  void DecodeWithin(absl::Duration tpot) {
    Offer offer = Decode(1);
    offer.due = At(100) + tpot;
    offer.tpot = tpot;
    input_.inference.spans = {offer};
  }
  static Offer TrainWithLeft(SequenceId id, int rows, int to_end) {
    Offer offer = Train(id, rows);
    offer.rows_to_end = to_end;
    return offer;
  }
  static int TrainingRows(const Plan& plan) {
    int rows = 0;
    for (const SpanGrant& grant : plan.training.spans) rows += grant.num_rows;
    return rows;
  }

  CostModel cost_, beside_;
  SchedulerOptions options_;
  SchedulerInput input_;
};

TEST_F(BesideTest, BackwardThatRunsBesideTakesNothingOfTheIteration) {
  DecodeWithin(absl::Milliseconds(90));
  input_.training.backward = {Units(7, 50, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_TRUE(plan.backward_beside);
  EXPECT_EQ(ToString(plan), "1:1 | | 7x50");
}

TEST_F(BesideTest, WhereHalfOfTheCoresAreTooSlowForTheTargetBackwardComesAfter) {
  DecodeWithin(absl::Milliseconds(72));
  input_.training.backward = {Units(7, 50, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_FALSE(plan.backward_beside);
  EXPECT_LE(plan.training.backward.size(), 1);
}

TEST_F(BesideTest, ForwardEndsWhenBackwardDoes) {
  DecodeWithin(absl::Milliseconds(300));
  input_.training.backward = {Units(7, 200, 16)};  // 2 s, 30 iterations
  input_.training.spans = {TrainWithLeft(8, 128, 128)};
  const int rows = TrainingRows(PlanCoserving(options_, input_));
  EXPECT_GE(rows, 3);
  EXPECT_LE(rows, 6);
  input_.training.backward = {Units(7, 100, 16)};
  EXPECT_GT(TrainingRows(PlanCoserving(options_, input_)), rows) << "half the time for it";
  input_.training.spans = {TrainWithLeft(8, 64, 256)};
  EXPECT_GT(TrainingRows(PlanCoserving(options_, input_)), 2 * rows) << "rows beyond the window count too";
}

TEST_F(BesideTest, TheTargetLimitsTheForwardThatBackwardAsksFor) {
  DecodeWithin(absl::Milliseconds(150));
  input_.training.backward = {Units(7, 1, 16)};
  input_.training.spans = {Train(8, 128)};
  const Plan plan = PlanCoserving(options_, input_);
  StepFeatures features;
  features.AddSpan(SpanKind::kDecode, 1, 9);
  features.samples = 1;
  features.AddSpan(SpanKind::kTrainForward, TrainingRows(plan), 0);
  features.AddLoss(TrainingRows(plan));
  EXPECT_LE(beside_.Seconds(features), 0.9 * 0.150);
  EXPECT_GE(beside_.Seconds(features), 0.7 * 0.150);
}

TEST_F(BesideTest, WithoutInferenceForwardTakesAllThatFits) {
  options_.max_iteration = absl::Milliseconds(500);
  input_.training.backward = {Units(7, 200, 16)};
  input_.training.spans = {Train(8, 128)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_TRUE(plan.backward_beside);
  EXPECT_GE(TrainingRows(plan), 25);
  EXPECT_LE(TrainingRows(plan), 50);
}

TEST_F(BesideTest, BackwardAloneHasAllCoresAndItsTime) {
  options_.max_iteration = absl::Milliseconds(100);
  input_.training.backward = {Units(7, 200, 16)};
  const Plan plan = PlanCoserving(options_, input_);
  EXPECT_FALSE(plan.backward_beside);
  ASSERT_EQ(plan.training.backward.size(), 1);
  EXPECT_LT(plan.training.backward[0].num_units, 25);
}

TEST_F(BesideTest, WithoutALaneBackwardComesAfter) {
  input_.beside = nullptr;
  DecodeWithin(absl::Milliseconds(150));
  input_.training.backward = {Units(7, 50, 16)};
  EXPECT_FALSE(PlanCoserving(options_, input_).backward_beside);
}

TEST_F(BesideTest, BaselinesRunBackwardBesideTheForwardOfTheSameIteration) {
  input_.training.backward = {Units(7, 50, 16)};
  input_.training.spans = {Train(8, 128)};
  EXPECT_TRUE(PlanTrainingOnly(options_, input_).backward_beside);
  EXPECT_TRUE(PlanStaticSplit(options_, input_).backward_beside);
  EXPECT_FALSE(PlanInferenceOnly(options_, input_).backward_beside);
}

}  // namespace
}  // namespace tandem
