// What a device that fails does to the engine. Emulated: nobody breaks a real one.
#include "backend/cuda/engine_fixture.h"
#include "cuda_emulation/emulation.h"

namespace tandem {
namespace {

class LostDeviceTest : public CudaEngineTest {
 protected:
  ~LostDeviceTest() override {
    engine_.reset();
    cuda_emulation::BreakDevice(cudaSuccess);
  }
};

TEST_F(LostDeviceTest, EndsEverythingWithItsReasonAndIsReported) {
  const auto watcher = Train("lost", 100000);
  const auto sink = Generate("Once upon a time", 100);
  sink->WaitForFirst();
  cuda_emulation::BreakDevice(cudaErrorIllegalAddress);
  sink->Wait();
  EXPECT_FALSE(sink->end.status.ok());
  const std::vector<JobEvent> events = watcher->Wait();
  EXPECT_EQ(events.back().state, JobState::kFailed);
  lost_.WaitForNotification();
  EXPECT_EQ(engine_->failure().code(), absl::StatusCode::kUnavailable);
  GenerateRequest late;
  late.prompt = {1};
  late.stop.max_tokens = 1;
  EXPECT_EQ(engine_->Generate(std::move(late), std::make_shared<RecordingGeneration>()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tandem
