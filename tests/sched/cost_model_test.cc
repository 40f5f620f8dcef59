#include "sched/cost_model.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sched/machine.h"

namespace tandem {
namespace {

// Of `count` iterations as they come, other ones than the profile's.
double MeanError(const CostModel& model, const Machine& machine, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  double error = 0;
  for (int i = 0; i < count; ++i) {
    const Probe probe = DrawProbe({}, random);
    error += std::abs(model.Seconds(FeaturesOf(probe)) / machine.Seconds(probe) - 1) / count;
  }
  return error;
}

void Learn(CostModel& model, const Machine& machine, int count, double noise = 0) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0, noise);
  for (int i = 0; i < count; ++i) {
    const Probe probe = DrawProbe({}, random);
    const double truth = machine.Seconds(probe);
    model.Observe(FeaturesOf(probe), absl::Seconds(truth * std::exp(noise > 0 ? normal(random) : 0)));
  }
}

TEST(CostModelTest, AFullProfilePredictsARooflineWithinFivePercent) {
  const Machine machine;
  EXPECT_LE(MeanError(machine.Profiled(), machine, 500, 1), 0.05);
}

TEST(CostModelTest, OneRowIsPredictedAsWell) {
  const Machine machine;
  StepFeatures one;
  one.AddSpan(SpanKind::kDecode, 1, 100);
  one.samples = 1;
  EXPECT_NEAR(machine.Profiled().Seconds(one) / machine.Seconds(one, 0, 0), 1, 0.02);
}

TEST(CostModelTest, HalfAProfileAndSomeIterationsPredictWithinFivePercent) {
  const Machine machine;
  CostModel model = machine.Profiled(30);
  Learn(model, machine, 300, 0.02);
  EXPECT_LE(MeanError(model, machine, 500, 1), 0.05);
}

TEST(CostModelTest, AGuessIsScaledByTheFirstIterationThatIsSeen) {
  Machine machine;
  machine.speed = 100;
  CostModel model(Machine::shape());
  StepFeatures decode, large;
  decode.AddSpan(SpanKind::kDecode, 1, 10);
  decode.samples = 1;
  large.AddSpan(SpanKind::kPrefill, 128, 0);
  model.Observe(decode, absl::Seconds(machine.Seconds(decode, 0, 0)));
  EXPECT_NEAR(model.Seconds(decode) / machine.Seconds(decode, 0, 0), 1, 1e-6);
  const double ratio = model.Seconds(large) / machine.Seconds(large, 0, 0);
  EXPECT_GT(ratio, 1 / 3.0);
  EXPECT_LT(ratio, 3);
}

TEST(CostModelTest, OneKindThatIsFarFromTheGuessIsLearnedWithinAFewIterations) {
  const Machine machine;
  Machine slow;
  slow.layer_row *= 8;
  CostModel model = slow.Profiled();
  StepFeatures unit;
  unit.AddSpan(SpanKind::kDecode, 1, 10);
  unit.samples = 1;
  unit.AddBackward(64, 0);
  for (int i = 0; i < 12; ++i) model.Observe(unit, absl::Seconds(machine.Seconds(unit, 0, 1)));
  EXPECT_LT(model.Seconds(unit) / machine.Seconds(unit, 0, 1), 1.5);
}

TEST(CostModelTest, FollowsAMachineThatBecomesHalfAsFast) {
  Machine machine;
  CostModel model = machine.Profiled();
  machine.speed = 0.5;
  Learn(model, machine, 100, 0.02);
  EXPECT_LE(MeanError(model, machine, 500, 1), 0.08);
}

TEST(CostModelTest, LearnsForWorkItHasNotSeenWhenTheWholeMachineSlowsDown) {
  Machine machine;
  CostModel model = machine.Profiled();
  machine.speed = 0.5;
  StepFeatures decode, large;
  decode.AddSpan(SpanKind::kDecode, 1, 10);
  decode.samples = 1;
  large.AddSpan(SpanKind::kPrefill, 128, 0);
  for (int i = 0; i < 200; ++i) model.Observe(decode, absl::Seconds(machine.Seconds(decode, 0, 0)));
  EXPECT_NEAR(model.Seconds(large) / machine.Seconds(large, 0, 0), 1, 0.2);  // what it has not seen it believes less
}

TEST(CostModelTest, AnOutlierChangesNoPredictionButTheHeadroom) {
  const Machine machine;
  CostModel model = machine.Profiled();
  Learn(model, machine, 200, 0.01);
  StepFeatures decode;
  decode.AddSpan(SpanKind::kDecode, 1, 10);
  const double before = model.Seconds(decode), headroom = model.headroom();
  EXPECT_EQ(model.Observe(decode, absl::Seconds(50 * before)), CostModel::Observed::kOutlier);
  EXPECT_EQ(model.Seconds(decode), before);
  EXPECT_GT(model.headroom(), headroom);
  EXPECT_EQ(model.outliers(), 1);
}

TEST(CostModelTest, WhatLooksLikeAnOutlierAgainAndAgainIsBelieved) {
  const Machine machine;
  CostModel model = machine.Profiled();
  StepFeatures decode;
  decode.AddSpan(SpanKind::kDecode, 1, 10);
  const double truth = 20 * model.Seconds(decode);
  for (int i = 0; i < 20; ++i) model.Observe(decode, absl::Seconds(truth));
  EXPECT_NEAR(model.Seconds(decode) / truth, 1, 0.1);
  EXPECT_EQ(model.outliers(), CostModel::kStops);
}

TEST(CostModelTest, AClockThatJumpedIsNoMeasurement) {
  CostModel model = Machine().Profiled();
  StepFeatures decode;
  decode.AddSpan(SpanKind::kDecode, 1, 10);
  const std::string before = model.ToJson();
  for (const absl::Duration jump : {-absl::Hours(2), absl::ZeroDuration(), absl::Hours(24), absl::InfiniteDuration()}) {
    EXPECT_EQ(model.Observe(decode, jump), CostModel::Observed::kIgnored);
  }
  EXPECT_EQ(model.ToJson(), before);
}

TEST(CostModelTest, HeadroomGrowsWithTheNoiseAndShrinksWithoutIt) {
  const Machine machine;
  CostModel quiet = machine.Profiled(), noisy = machine.Profiled();
  Learn(quiet, machine, 1000, 0.005);
  Learn(noisy, machine, 1000, 0.2);
  EXPECT_LT(quiet.headroom(), 0.06);
  EXPECT_GT(noisy.headroom(), 0.08);
}

TEST(CostModelTest, PredictionsStayPositiveAndFiniteWhateverIsMeasured) {
  CostModel model = Machine().Profiled();
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    model.Observe(FeaturesOf(DrawProbe({}, random)),
                  absl::Seconds(std::pow(10.0, -6.0 + static_cast<double>(random() % 700) / 100)));
    const double seconds = model.Seconds(FeaturesOf(DrawProbe({}, random)));
    ASSERT_TRUE(std::isfinite(seconds) && seconds > 0) << i << ": " << seconds;
  }
}

TEST(CostModelTest, JsonBringsBackTheSamePredictions) {
  const Machine machine;
  CostModel model = machine.Profiled();
  Learn(model, machine, 50, 0.05);
  const absl::StatusOr<CostModel> read = CostModel::FromJson(model.ToJson());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->headroom(), model.headroom());
  EXPECT_LE(MeanError(*read, machine, 100, 1), MeanError(model, machine, 100, 1) + 1e-9);
}

TEST(CostModelTest, JsonOfAnotherKindIsRefused) {
  for (const char* text : {"", "{", "[]", "{}", R"({"version":1})", R"({"version":1,"knots":[1,2],"seconds":[1]})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CostModel::FromJson(text).status())) << text;
  }
}

}  // namespace
}  // namespace tandem
