#include "sim/simulator.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sched/machine.h"
#include "sched/policies.h"

namespace tandem::sim {
namespace {

// The 1.1 G shape on two cores, about: 53 ms a decode step, 6 ms a row beyond eight.
class SimulatorTest : public testing::Test {
 protected:
  SimulatorTest() : cost_(Machine().Profiled()) {
    options_.slo = {.ttft = absl::Seconds(4), .tpot = absl::Milliseconds(200)};
    options_.scheduler.max_iteration = absl::Milliseconds(250);
    trace_ = DrawTrace({.rate = 0.1, .duration = absl::Seconds(300), .prompt_tokens = 64, .output_tokens = 32});
  }
  SimulationResult Run(const char* policy) { return Simulate(cost_, *PolicyNamed(policy), trace_, options_); }

  CostModel cost_;
  SimulationOptions options_;
  std::vector<TraceRequest> trace_;
};

TEST_F(SimulatorTest, TheSameInputGivesTheSameResult) {
  const SimulationResult a = Run("coserving"), b = Run("coserving");
  EXPECT_EQ(a.ttft_ms, b.ttft_ms);
  EXPECT_EQ(a.trained_tokens, b.trained_tokens);
}

TEST_F(SimulatorTest, EveryRequestIsServedUnderEveryPolicyThatServes) {
  for (const std::string& policy : PolicyNames()) {
    if (policy == "training_only") continue;
    const SimulationResult r = Run(policy.c_str());
    EXPECT_EQ(r.requests, static_cast<int>(trace_.size())) << policy;
    EXPECT_EQ(r.unfinished, 0) << policy;
  }
}

TEST_F(SimulatorTest, CoservingMeetsTheTargetsWhereInferenceAloneDoes) {
  EXPECT_GE(Run("inference_only").attainment(), 0.99);
  EXPECT_GE(Run("coserving").attainment(), 0.99);
}

TEST_F(SimulatorTest, CoservingTrainsMoreThanTheTemporalPoliciesThatMeetTheTargets) {
  const SimulationResult coserving = Run("coserving");
  EXPECT_GT(coserving.trained_tokens, 0);
  for (const char* policy : {"temporal", "dynamic_temporal", "static_split"}) {
    const SimulationResult r = Run(policy);
    if (r.attainment() < 0.99) continue;
    EXPECT_GE(coserving.trained_per_second(), r.trained_per_second()) << policy;
  }
}

TEST_F(SimulatorTest, CoresOfItsOwnLetBackwardTrainAsMuchWhileTokensComeSooner) {
  trace_ = {{.arrival = absl::ZeroDuration(), .prompt_tokens = 16, .output_tokens = 500}};
  const SimulationResult after = Run("coserving");
  const CostModel beside = Machine{.read = 65e-3, .row = 11e-3, .head_row = 6e-4, .loss_row = 12e-4}.Profiled();
  options_.beside = &beside;
  options_.lane_speed = 0.5;
  const SimulationResult with_lane = Run("coserving");
  EXPECT_GT(with_lane.trained_per_second(), 0.75 * after.trained_per_second());
  EXPECT_GT(with_lane.generated_per_second(), 1.6 * after.generated_per_second());
  EXPECT_GE(with_lane.attainment(), 0.99);
}

TEST_F(SimulatorTest, AModelThatTakesBackwardForFarTooSlowIsCorrectedAndTrains) {
  Machine slow;
  slow.layer_row *= 10;
  slow.layer_read *= 10;
  const CostModel believed = slow.Profiled();
  options_.believed = &believed;
  options_.backward_window = 128;
  // A stream that never pauses, so that training is never alone.
  trace_ = {{.arrival = absl::ZeroDuration(), .prompt_tokens = 16, .output_tokens = 300}};
  const SimulationResult r = Run("coserving");
  EXPECT_GT(r.trained_per_second(), 20);
}

TEST_F(SimulatorTest, WithoutRequestsItTrainsUntilTheLimit) {
  trace_.clear();
  options_.limit = absl::Seconds(30);
  const SimulationResult r = Run("coserving");
  EXPECT_NEAR(r.seconds, 30, 1);
  EXPECT_GT(r.trained_tokens, 0);
}

}  // namespace
}  // namespace tandem::sim
