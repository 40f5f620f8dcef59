#include "sched/cost_model.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sched/machine.h"

namespace tandem {
namespace {

struct Iteration {
  StepFeatures features;
  double labelled = 0, units = 0;
};

// Decodes, a prefill chunk, a training window and backward units, each there or not.
Iteration Draw(std::mt19937_64& random) {
  const auto upto = [&](int n) { return static_cast<int>(random() % (n + 1)); };
  Iteration it;
  const int decodes = random() % 2 ? 1 + upto(15) : 1;
  for (int i = 0; i < decodes; ++i) it.features.AddSpan(SpanKind::kDecode, 1, upto(800));
  it.features.samples = decodes;
  if (random() % 3 == 0) it.features.AddSpan(SpanKind::kPrefill, 1 + upto(127), upto(300));
  if (random() % 2) {
    it.labelled = 1 + upto(63);
    it.features.AddSpan(SpanKind::kTrainForward, static_cast<int>(it.labelled), upto(200));
    it.features.AddLoss(static_cast<int>(it.labelled));
  }
  it.units = random() % 2 ? upto(4) : 0;
  for (int i = 0; i < it.units; ++i) it.features.AddBackward(128, 0);
  return it;
}

double MeanError(const CostModel& model, const Machine& machine, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  double error = 0;
  for (int i = 0; i < count; ++i) {
    const Iteration it = Draw(random);
    const double truth = machine.Seconds(it.features, it.labelled, it.units);
    error += std::abs(model.Seconds(it.features) / truth - 1) / count;
  }
  return error;
}

void Learn(CostModel& model, const Machine& machine, int count, double noise = 0) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0, noise);
  for (int i = 0; i < count; ++i) {
    const Iteration it = Draw(random);
    const double truth = machine.Seconds(it.features, it.labelled, it.units);
    model.Observe(it.features, absl::Seconds(truth * std::exp(noise > 0 ? normal(random) : 0)));
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

TEST(CostModelTest, AShortProfileAndSomeIterationsPredictWithinFivePercent) {
  const Machine machine;
  CostModel model = machine.Profiled(absl::Milliseconds(2500));
  Learn(model, machine, 300, 0.02);
  EXPECT_LE(MeanError(model, machine, 500, 1), 0.05);
}

TEST(CostModelTest, TheProfileKeepsItsLimit) {
  const Machine machine;
  absl::Duration spent;
  MeasureProfile({.limit = absl::Milliseconds(2500)}, [&](const Probe& probe) {
    spent += machine.Run(probe);
    return machine.Run(probe);
  });
  EXPECT_LE(spent, absl::Milliseconds(2500));
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
    const Iteration it = Draw(random);
    model.Observe(it.features, absl::Seconds(std::pow(10.0, -6.0 + static_cast<double>(random() % 700) / 100)));
    const double seconds = model.Seconds(Draw(random).features);
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
