#include "model/backward_lane.h"

#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "model/tape.h"

namespace tandem {
namespace {

// A lane whose units are told apart by their layer and run until they are let go.
class BackwardLaneTest : public testing::Test {
 protected:
  static constexpr int kLayers = 4;

  BackwardLaneTest() : backend_(CreateCpuBackend(2)), tape_(*backend_, Desc(), DType::kF32, 8), gradients_(kLayers) {
    tape_.Begin(8, &gradients_);
    lane_ =
        std::make_unique<BackwardLane>(*backend_, backend_->CreateLane(), [this](Backend&, const BackwardUnit& unit) {
          began_[unit.layer].Notify();
          let_go_[unit.layer].WaitForNotification();
        });
  }
  ~BackwardLaneTest() override {
    for (absl::Notification& let_go : let_go_) {
      if (!let_go.HasBeenNotified()) let_go.Notify();
    }
  }

  static ModelDesc Desc() {
    ModelDesc desc;
    desc.num_layers = kLayers;
    desc.hidden = desc.ffn = desc.head_dim = 16;
    desc.num_heads = desc.num_kv_heads = 1;
    return desc;
  }
  // From `layer` down.
  std::vector<BackwardUnit> UnitsFrom(int layer) {
    std::vector<BackwardUnit> units;
    for (; layer >= 0; --layer) units.push_back({.layer = layer, .window = {0, 8}, .tape = &tape_});
    return units;
  }
  void Finish(int layer) {
    let_go_[layer].Notify();
    while (lane_->Report().done <= kLayers - 1 - layer) std::this_thread::yield();
  }

  std::unique_ptr<Backend> backend_;
  Tape tape_;
  std::vector<LayerGradients> gradients_;
  absl::Notification began_[kLayers], let_go_[kLayers];  // a second Notify dies: no unit runs twice
  std::unique_ptr<BackwardLane> lane_;
};

TEST_F(BackwardLaneTest, UnitsRunOneAfterTheOtherAndAreCounted) {
  lane_->Give(UnitsFrom(3));
  began_[3].WaitForNotification();
  EXPECT_EQ(lane_->Report().done, 0);
  Finish(3);
  Finish(2);
  began_[1].WaitForNotification();
  EXPECT_FALSE(began_[0].HasBeenNotified());
  EXPECT_FALSE(lane_->Report().ran_dry);
}

TEST_F(BackwardLaneTest, AUnitUnderWayGoesOnWhenItIsGivenAgain) {
  lane_->Give(UnitsFrom(3));
  began_[3].WaitForNotification();
  lane_->Give(UnitsFrom(3));
  Finish(3);
  began_[2].WaitForNotification();
  EXPECT_EQ(lane_->Report().done, 1);
}

TEST_F(BackwardLaneTest, WhatRanWithNobodyToldIsDoneWhenItIsGivenAgain) {
  lane_->Give(UnitsFrom(3));
  Finish(3);
  lane_->Pause();
  lane_->Give(UnitsFrom(3));
  EXPECT_EQ(lane_->Report().done, 1);
}

TEST_F(BackwardLaneTest, APauseForgetsWhatWasNotBegunAndSettlingFinishesTheRest) {
  lane_->Give(UnitsFrom(3));
  began_[3].WaitForNotification();
  lane_->Pause();
  EXPECT_FALSE(lane_->settled());
  let_go_[3].Notify();
  EXPECT_TRUE(lane_->Settle());
  EXPECT_TRUE(lane_->settled());
  EXPECT_FALSE(began_[2].HasBeenNotified());
}

TEST_F(BackwardLaneTest, SettlingGivesWayToARequest) {
  lane_->Give(UnitsFrom(3));
  began_[3].WaitForNotification();
  const std::atomic<bool> yield = true;
  EXPECT_FALSE(lane_->Settle(&yield));
}

TEST_F(BackwardLaneTest, SaysWhenItRanDry) {
  lane_->Give(UnitsFrom(0));
  let_go_[0].Notify();
  while (!lane_->Report().ran_dry) std::this_thread::yield();
  EXPECT_EQ(lane_->Report().done, 1);
}

}  // namespace
}  // namespace tandem
