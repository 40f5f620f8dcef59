#include "sched/scheduler.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "sched/offers.h"

namespace tandem {
namespace {

// Offers what it is told and writes what it is granted, as zeros.
class FakeSource : public WorkSource {
 public:
  Offers offers;
  int extra_rows = 0;
  mutable absl::Time asked_at;
  Grants granted;
  std::string name;
  std::vector<std::string>* log = nullptr;

  Offers CollectOffers(absl::Time now) const override {
    asked_at = now;
    return offers;
  }
  void Emit(const Grants& grants, Batch& batch) override {
    granted = grants;
    log->push_back(grants.preempted.empty() ? name : name + " gives");
    for (const SpanGrant& grant : grants.spans) {
      batch.spans.push_back(
          {.sequence = grant.sequence, .first_row = batch.num_rows(), .num_rows = grant.num_rows + extra_rows});
      batch.token_ids.resize(batch.token_ids.size() + grant.num_rows + extra_rows);
      batch.labels.resize(batch.token_ids.size(), kIgnoredLabel);
    }
    for (const BackwardGrant& grant : grants.backward) batch.backward.push_back({.sequence = grant.sequence});
  }
  void Commit(const Batch&, const StepResult&, absl::Time) override {}
};

class SchedulerTest : public testing::Test {
 protected:
  SchedulerParts Parts() {
    return {.inference = &inference_, .training = &training_, .pool = &pool_, .num_layers = 2, .options = {}};
  }
  SchedulerTest() {
    inference_.name = "inference";
    training_.name = "training";
    inference_.log = training_.log = &log_;
  }
  std::vector<std::string> log_;
  FakeSource inference_, training_;
  BlockPool pool_{10, 16};
};

TEST_F(SchedulerTest, NextIsEmptyWhereNothingCanRun) {
  EXPECT_TRUE(Scheduler(Parts()).Next(At(0)).empty());
}

TEST_F(SchedulerTest, TrainingGivesBackBeforeInferenceTakes) {
  BlockTable held = *pool_.Allocate(8);
  inference_.offers = {.spans = {Waiting(1, 3, 6)}};
  training_.offers = {.blocks_held = 8, .held = {{7, 8}}};
  Scheduler(Parts()).Next(At(0));
  EXPECT_EQ(log_, (std::vector<std::string>{"training gives", "inference", "training"}));
}

TEST_F(SchedulerTest, NextPacksInferenceBeforeTraining) {
  inference_.offers = {.spans = {Prefill(1, 3)}};
  training_.offers = {.spans = {Train(7, 5)}, .backward = {Units(8, 1, 4)}};
  const Batch batch = Scheduler(Parts()).Next(At(3));
  ASSERT_EQ(batch.spans.size(), 2);
  EXPECT_EQ(batch.spans[0].sequence, 1);
  EXPECT_EQ(batch.spans[1].sequence, 7);
  EXPECT_EQ(batch.spans[1].first_row, 3);
  EXPECT_EQ(batch.num_rows(), 8);
  ASSERT_EQ(batch.backward.size(), 1);
  EXPECT_EQ(batch.backward[0].sequence, 8);
}

TEST_F(SchedulerTest, NextTellsBothSourcesTheTime) {
  Scheduler(Parts()).Next(At(3));
  EXPECT_EQ(inference_.asked_at, At(3));
  EXPECT_EQ(training_.asked_at, At(3));
}

TEST_F(SchedulerTest, NextCountsThePoolsFreeBlocks) {
  const BlockTable held = *pool_.Allocate(6);
  inference_.offers = {.spans = {Waiting(1, 3, 5)}};
  Scheduler scheduler(Parts());
  EXPECT_TRUE(scheduler.Next(At(0)).empty());
  inference_.offers = {.spans = {Waiting(1, 3, 4)}};
  EXPECT_EQ(scheduler.Next(At(1)).num_rows(), 3);
}

TEST_F(SchedulerTest, NextFollowsAnotherPolicy) {
  inference_.offers = {.spans = {Decode(1)}};
  training_.offers = {.spans = {Train(7, 5)}};
  SchedulerParts parts = Parts();
  parts.policy = [](const SchedulerOptions&, const SchedulerInput& input) {
    Plan plan;
    plan.training.spans.push_back({input.training.spans[0].sequence, input.num_layers});
    return plan;
  };
  const Batch batch = Scheduler(parts).Next(At(0));
  ASSERT_EQ(batch.spans.size(), 1);
  EXPECT_EQ(batch.spans[0].sequence, 7);
  EXPECT_EQ(batch.num_rows(), 2);
}

TEST_F(SchedulerTest, WhatBackwardRanBesideTeachesTheOtherCostModel) {
  CostModel cost(ModelShape{.layer_parameters = 1e6, .head_parameters = 1e6}), beside = cost;
  SchedulerParts parts = Parts();
  parts.cost = &cost;
  parts.beside = &beside;
  Scheduler scheduler(parts);
  inference_.offers = {.spans = {Decode(1)}};
  const auto observe = [&](StepResult::Time time, absl::Duration took) {
    scheduler.Observe(scheduler.Next(At(0)), {.time = time}, {}, took);
  };
  observe(StepResult::Time::kOfAll, absl::Milliseconds(2));
  EXPECT_EQ(cost.observations(), 1);
  observe(StepResult::Time::kOfForwardBeside, absl::Milliseconds(3));
  EXPECT_EQ(beside.observations(), 1);
  observe(StepResult::Time::kMixed, absl::Milliseconds(9));
  EXPECT_EQ(cost.observations() + beside.observations(), 2) << "says nothing";
}

TEST_F(SchedulerTest, ASourceMustEmitWhatItWasGranted) {
  inference_.offers = {.spans = {Decode(1)}};
  inference_.extra_rows = 1;
  EXPECT_DEATH(Scheduler(Parts()).Next(At(0)), "other than granted");
}

TEST_F(SchedulerTest, InvalidOptionsAreAProgrammersError) {
  SchedulerParts parts = Parts();
  parts.options.max_batch_rows = 0;
  EXPECT_DEATH(Scheduler{parts}, "max_batch_rows is 0");
}

}  // namespace
}  // namespace tandem
