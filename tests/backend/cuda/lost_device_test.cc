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
  const absl::Status lost = absl::UnavailableError("the device is lost; the daemon has to start anew");
  EXPECT_EQ(engine_->Generate(late, std::make_shared<RecordingGeneration>()), lost);
  engine_->Drain(absl::ZeroDuration(), "the daemon is shutting down");
  EXPECT_EQ(engine_->Generate(late, std::make_shared<RecordingGeneration>()), lost) << "the first reason stays";
}

}  // namespace
}  // namespace tandem
