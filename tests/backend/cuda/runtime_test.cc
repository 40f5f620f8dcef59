// The runtime on the emulated device, whose streams run only when somebody waits: what is read or changed too early is
// wrong every time.
#include "backend/cuda/runtime.h"

#include <gtest/gtest.h>

#include <numeric>

#include "cuda_emulation/emulation.h"
#include "kernels/activation.h"
#include "kernels/copy.h"

namespace tandem::cuda {
namespace {

using kernels::Type;

class RuntimeTest : public ::testing::Test {
 protected:
  float* Floats(const std::vector<float>& values) {
    float* data = static_cast<float*>(runtime_->Allocate(values.size() * sizeof(float)));
    runtime_->UploadBytes(values.data(), data, values.size() * sizeof(float));
    return data;
  }
  std::vector<float> Read(const float* data, size_t count) {
    std::vector<float> values(count);
    runtime_->Fetch(data, std::span(values));
    return values;
  }
  // to[i] = values[i], through a table.
  void Store(std::vector<float> values, float* to) {
    const Runtime::Op op(*runtime_, "Store");
    const std::span<const float> table = runtime_->ToDevice(std::span<const float>(values));
    runtime_->Launch(kernels::LaunchConvert,
                     kernels::ConvertArgs{.from = table.data(), .to = to, .n = static_cast<int64_t>(table.size())});
    std::ranges::fill(values, -1.0f);  // its own business from here on
  }

  const std::unique_ptr<Runtime> runtime_ = *Runtime::Create(0);
};

TEST_F(RuntimeTest, HostTablesMayGoWhenTheCallReturns) {
  float* const data = Floats({0, 0, 0});
  Store({1, 2, 3}, data);
  EXPECT_EQ(Read(data, 3), (std::vector<float>{1, 2, 3}));
}

TEST_F(RuntimeTest, ResultsComeWithFinishInTheOrderOfTheCalls) {
  const std::vector<float> from = {4, 5};
  std::vector<std::vector<float>> taken;
  const auto take = [&](std::span<const float> values) { taken.emplace_back(values.begin(), values.end()); };
  for (const float first : {1.0f, 3.0f}) Store({first, first + 1}, runtime_->Result<float>(2, take));
  EXPECT_TRUE(taken.empty());
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(taken, (std::vector<std::vector<float>>{{1, 2}, {3, 4}}));
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(taken.size(), 2u);
}

TEST_F(RuntimeTest, ScratchOfOneOperationIsTheNextOnes) {
  float* first = nullptr;
  {
    const Runtime::Op op(*runtime_, "first");
    first = runtime_->Scratch<float>(100);
    EXPECT_GE(runtime_->Scratch<float>(100), first + 100);
  }
  const Runtime::Op op(*runtime_, "second");
  EXPECT_EQ(runtime_->Scratch<float>(100), first);
}

TEST_F(RuntimeTest, ScratchThatIsOutgrownStaysUntilFinish) {
  float* const result = Floats({0});
  {
    const Runtime::Op op(*runtime_, "grows");
    float* const small = runtime_->Scratch<float>(1);
    Store({7}, small);
    runtime_->Scratch<char>(size_t{80} << 20);
    runtime_->Launch(kernels::LaunchAdd, Type::kF32, static_cast<const void*>(small), static_cast<void*>(result),
                     int64_t{1});
  }
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(Read(result, 1), std::vector<float>{7});
}

TEST_F(RuntimeTest, APlanIsMadeOncePerStepForTheSameSequences) {
  const std::vector<BlockId> blocks = {3, 1};
  const std::vector<SequenceRows> one = {{.num_rows = 2, .blocks = blocks}},
                                  other = {{.num_rows = 3, .blocks = blocks}};
  struct Plan {
    int made;
  };
  int made = 0;
  const auto plan = [&](const std::vector<SequenceRows>& sequences, uint64_t variant) {
    return runtime_->PlanOf<Plan>(sequences, variant, [&] { return Plan{++made}; }).made;
  };
  EXPECT_EQ(plan(one, 0), 1);
  EXPECT_EQ(plan(std::vector(one), 0), 1);
  EXPECT_EQ(plan(one, 5), 2);
  EXPECT_EQ(plan(other, 0), 3);
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(plan(one, 0), 4);
}

TEST_F(RuntimeTest, ARepeatedBodyIsReplayedFromTheThirdTimeOnWithItsNewTables) {
  float* const data = Floats({0, 0});
  for (int i = 0; i < 5; ++i) {
    const float value = static_cast<float>(i);
    runtime_->RunRepeated(1, [&] { Store({value, value + 1}, data); });
    ASSERT_TRUE(runtime_->Finish().ok());
    EXPECT_EQ(Read(data, 2), (std::vector<float>{value, value + 1})) << i;
    EXPECT_EQ(runtime_->graphs_launched(), std::max(0, i));
  }
}

TEST_F(RuntimeTest, ARepeatedBodyMayRunAgainBeforeFinish) {
  float *const data = Floats({0}), *const sum = Floats({0});
  float want = 0;
  for (int i = 1; i < 6; ++i) {
    runtime_->RunRepeated(1, [&] {
      Store({static_cast<float>(i)}, data);
      runtime_->Launch(kernels::LaunchAdd, Type::kF32, static_cast<const void*>(data), static_cast<void*>(sum),
                       int64_t{1});
    });
    want += static_cast<float>(i);
  }
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(Read(sum, 1), std::vector<float>{want});
}

TEST_F(RuntimeTest, ABodyThatDiffersFromTheLastTimeDoesWhatItSays) {
  float *const data = Floats({0, 0, 0}), *const other = Floats({0, 0, 0});
  for (int i = 0; i < 12; ++i) {
    const float value = static_cast<float>(i);
    float* const to = i % 3 == 0 ? other : data;
    const size_t count = i % 4 == 0 ? 2 : 3;
    runtime_->RunRepeated(1, [&] { Store(std::vector<float>(count, value), to); });
    ASSERT_TRUE(runtime_->Finish().ok());
    EXPECT_EQ(Read(to, count), std::vector<float>(count, value)) << i;
  }
  EXPECT_GT(runtime_->graphs_launched(), 0);
}

TEST_F(RuntimeTest, ABodyThatWaitsForTheDeviceIsNeverReplayed) {
  float* const data = Floats({0});
  for (int i = 0; i < 4; ++i) {
    float seen = 0;
    runtime_->RunRepeated(1, [&] {
      Store({static_cast<float>(i)}, data);
      seen = Read(data, 1)[0];
    });
    EXPECT_EQ(seen, static_cast<float>(i));
  }
  EXPECT_EQ(runtime_->graphs_launched(), 0);
}

cudaError_t Refuse(int, cudaStream_t) {
  return cudaErrorInvalidConfiguration;
}

TEST_F(RuntimeTest, AnErrorEndsTheStepWithTheOperationsNameAndNotTheNextStep) {
  bool taken = false;
  runtime_->Result<float>(1, [&](std::span<const float>) { taken = true; });
  {
    const Runtime::Op op(*runtime_, "Attention");
    runtime_->Launch(Refuse, 1);
  }
  const absl::Status status = runtime_->Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("Attention"), std::string::npos) << status;
  EXPECT_FALSE(taken);
  EXPECT_TRUE(runtime_->alive());
  float* const data = Floats({0});
  Store({3}, data);
  EXPECT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(Read(data, 1), std::vector<float>{3});
}

TEST_F(RuntimeTest, AnErrorThatStaysIsSaidToBeTheDevicesEnd) {
  float* const data = Floats({0});
  cuda_emulation::BreakDevice(cudaErrorIllegalAddress);
  Store({1}, data);
  const absl::Status status = runtime_->Finish();
  EXPECT_NE(status.message().find("lost"), std::string::npos) << status;
  EXPECT_FALSE(runtime_->alive());
  EXPECT_FALSE(runtime_->Finish().ok());
  cuda_emulation::BreakDevice(cudaSuccess);
}

TEST_F(RuntimeTest, AStepsResultsComeWithItWhileTheNextOneIsInFlight) {
  std::vector<float> taken;
  const auto take = [&](std::span<const float> values) { taken.insert(taken.end(), values.begin(), values.end()); };
  for (int step = 0; step < 6; ++step) {
    Store({static_cast<float>(step), 100}, runtime_->Result<float>(2, take));
    if (step > 0) {
      ASSERT_TRUE(runtime_->AwaitStep().ok());
      EXPECT_EQ(taken.size(), 2u * step);
    }
    runtime_->EndStep();
  }
  ASSERT_TRUE(runtime_->AwaitStep().ok());
  EXPECT_EQ(taken, (std::vector<float>{0, 100, 1, 100, 2, 100, 3, 100, 4, 100, 5, 100}));
}

TEST_F(RuntimeTest, ARepeatedBodyMayBeInFlightTwice) {
  float *const data = Floats({0}), *const sum = Floats({0});
  float want = 0;
  for (int i = 1; i < 9; ++i) {
    runtime_->RunRepeated(1, [&] {
      Store({static_cast<float>(i)}, data);
      runtime_->Launch(kernels::LaunchAdd, Type::kF32, static_cast<const void*>(data), static_cast<void*>(sum),
                       int64_t{1});
    });
    if (i > 1) {
      EXPECT_TRUE(runtime_->AwaitStep().ok());
    }
    runtime_->EndStep();
    want += static_cast<float>(i);
  }
  ASSERT_TRUE(runtime_->AwaitStep().ok());
  EXPECT_EQ(Read(sum, 1), std::vector<float>{want});
  EXPECT_GT(runtime_->graphs_launched(), 0);
}

TEST_F(RuntimeTest, WhatIsFreedIsNobodyElsesBeforeTheStepsThatUseItAreOver) {
  const std::unique_ptr<Runtime> runtime = *Runtime::Create(size_t{1} << 20);  // which gives the same memory again
  const auto allocate = [&] { return runtime->Allocate(1024); };
  void* const first = allocate();
  runtime->Free(first);
  EXPECT_EQ(allocate(), first) << "nothing is in flight";
  const auto use = [&](void* data) {
    runtime->Launch(kernels::LaunchAdd, Type::kF32, static_cast<const void*>(data), data, int64_t{1});
  };
  use(first);
  runtime->EndStep();
  runtime->Free(first);
  void* const second = allocate();
  EXPECT_NE(second, first);
  use(second);
  ASSERT_TRUE(runtime->AwaitStep().ok());
  EXPECT_EQ(allocate(), first);
  runtime->EndStep();
  ASSERT_TRUE(runtime->AwaitStep().ok());
}

TEST_F(RuntimeTest, AnErrorIsThatOfItsOwnStep) {
  float* const data = Floats({0});
  Store({1}, data);
  runtime_->EndStep();
  runtime_->Launch(Refuse, 1);
  EXPECT_FALSE(runtime_->step_error().ok());
  EXPECT_TRUE(runtime_->AwaitStep().ok());
  runtime_->EndStep();
  Store({3}, data);
  EXPECT_TRUE(runtime_->step_error().ok());
  EXPECT_FALSE(runtime_->AwaitStep().ok());
  runtime_->EndStep();
  EXPECT_TRUE(runtime_->AwaitStep().ok());
  EXPECT_EQ(Read(data, 1), std::vector<float>{3});
}

TEST_F(RuntimeTest, FinishLeavesTheErrorOfAnEarlierStepToBeAwaited) {
  float* const data = Floats({0});
  runtime_->Launch(Refuse, 1);
  runtime_->EndStep();
  Store({3}, data);
  EXPECT_TRUE(runtime_->Finish().ok());
  EXPECT_FALSE(runtime_->AwaitStep().ok());
}

TEST_F(RuntimeTest, BackwardFollowsTheStepBeforeAndTheNextStepFollowsBackward) {
  float *const data = Floats({0}), *const seen = Floats({0, 0});
  const auto copy = [&](const float* from, float* to) {
    runtime_->Launch(kernels::LaunchConvert, kernels::ConvertArgs{.from = from, .to = to, .n = 1});
  };
  Store({1}, data);
  runtime_->EndStep();
  runtime_->BeginBackward();
  copy(data, seen);
  Store({2}, data);
  runtime_->EndBackward();
  ASSERT_TRUE(runtime_->AwaitStep().ok());
  runtime_->EndStep();
  copy(data, seen + 1);
  EXPECT_EQ(Read(seen, 2), (std::vector<float>{1, 2}));
  ASSERT_TRUE(runtime_->AwaitStep().ok());
}

TEST_F(RuntimeTest, BackwardFollowsEarlierBackwardAndFinishWaitsForIt) {
  float* const data = Floats({0});
  for (int unit = 1; unit <= 5; ++unit) {
    runtime_->BeginBackward();
    Store({static_cast<float>(unit)}, data);
    runtime_->EndBackward();
  }
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(Read(data, 1), std::vector<float>{5});
}

TEST_F(RuntimeTest, WhereTheDeviceIsFullHostMemoryServes) {
  cuda_emulation::SetMemory(size_t{32} << 20);
  float* const data = static_cast<float*>(runtime_->Allocate(size_t{64} << 20));
  cuda_emulation::SetMemory(size_t{1} << 30);
  Store({5}, data);
  ASSERT_TRUE(runtime_->Finish().ok());
  EXPECT_EQ(Read(data, 1), std::vector<float>{5});
  runtime_->Free(data);
}

TEST(FindDevice, SaysWhyThereIsNone) {
  cuda_emulation::SetDevicePresent(false);
  const auto device = FindDevice();
  cuda_emulation::SetDevicePresent(true);
  EXPECT_EQ(device.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(device.status().message().empty());
}

}  // namespace
}  // namespace tandem::cuda
