#include "training/schedule.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr double kTolerance = 1e-15;  // a few roundings of doubles near 1

Hyperparameters Steps(int max_steps, LrSchedule schedule, int warmup_steps) {
  Hyperparameters h;
  h.max_steps = max_steps;
  h.learning_rate = 1;
  h.schedule = schedule;
  h.warmup_steps = warmup_steps;
  return h;
}

TEST(Schedule, WarmsUpFromTheFirstStepOn) {
  const Schedule schedule(Steps(10, LrSchedule::kConstant, 4), 100);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(3), 1);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 1);
}

TEST(Schedule, ConstantStaysAfterWarmUp) {
  const Schedule schedule(Steps(10, LrSchedule::kConstant, 0), 100);
  for (int t = 0; t < 10; ++t) EXPECT_DOUBLE_EQ(schedule.LearningRate(t), 1);
}

TEST(Schedule, LinearFallsToZeroAtTheEnd) {
  const Schedule schedule(Steps(12, LrSchedule::kLinear, 2), 100);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(2), 1);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(7), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(11), 1 - 9.0 / 10);
  EXPECT_NEAR(schedule.LearningRate(12), 0, kTolerance);
}

TEST(Schedule, CosineIsHalfwayInTheMiddleAndZeroAtTheEnd) {
  const Schedule schedule(Steps(12, LrSchedule::kCosine, 2), 100);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(2), 1);
  EXPECT_NEAR(schedule.LearningRate(7), 0.5, kTolerance);
  EXPECT_NEAR(schedule.LearningRate(12), 0, kTolerance);
  // (1 + cos(pi / 5)) / 2 with cos(pi / 5) = (1 + sqrt 5) / 4
  EXPECT_NEAR(schedule.LearningRate(4), 0.9045084971874737, kTolerance);
}

TEST(Schedule, WarmUpLongerThanTheJobOnlyRises) {
  const Schedule schedule(Steps(4, LrSchedule::kCosine, 8), 100);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(3), 0.5);
}

TEST(Schedule, EpochsAreCutIntoStepsAndTheLastTakesWhatIsLeft) {
  Hyperparameters h;
  h.epochs = 2;
  h.micro_batch = 2;
  h.gradient_accumulation = 2;
  const Schedule schedule(h, 10);
  EXPECT_EQ(schedule.total_steps(), 6);
  EXPECT_EQ(schedule.At(1).first, 4);
  EXPECT_EQ(schedule.At(1).num_samples, 4);
  EXPECT_EQ(schedule.At(2).epoch, 0);
  EXPECT_EQ(schedule.At(2).first, 8);
  EXPECT_EQ(schedule.At(2).num_samples, 2);
  EXPECT_EQ(schedule.At(3).epoch, 1);
  EXPECT_EQ(schedule.At(3).first, 0);
  EXPECT_EQ(schedule.At(3).num_samples, 4);
  EXPECT_DOUBLE_EQ(schedule.EpochsAfter(3), 1);
}

TEST(Schedule, AFractionOfAnEpochIsRoundedUpToSteps) {
  Hyperparameters h;
  h.epochs = 0.25;
  EXPECT_EQ(Schedule(h, 10).total_steps(), 3);
  h.epochs = 1e-9;
  EXPECT_EQ(Schedule(h, 10).total_steps(), 1);
}

TEST(Schedule, AProductAHairAboveAWholeNumberIsNoStepMore) {
  Hyperparameters h;
  h.epochs = 0.1;
  EXPECT_EQ(Schedule(h, 30).total_steps(), 3);  // 0.1 * 30 = 3.0000000000000004
}

TEST(Schedule, MaxStepsGoesOnOverAsManyEpochsAsItTakes) {
  const Schedule schedule(Steps(7, LrSchedule::kConstant, 0), 3);
  EXPECT_EQ(schedule.total_steps(), 7);
  EXPECT_EQ(schedule.At(6).epoch, 2);
  EXPECT_EQ(schedule.At(6).first, 0);
}

}  // namespace
}  // namespace tandem
