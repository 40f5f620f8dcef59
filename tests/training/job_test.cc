#include "training/job.h"

#include <fstream>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/recording_sink.h"
#include "training/training_fixture.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JobTest : public TrainingFixture {
 protected:
  std::unique_ptr<TrainingJob> Start(JobSpec spec) {
    PreparedJob prepared = Prepare(std::move(spec));
    id_ = Register(prepared);
    auto job = std::make_unique<TrainingJob>(id_, std::move(prepared), parts());
    EXPECT_TRUE(registry_.Watch(JobRegistry::IdOf(id_), 1, sink_).ok());
    return job;
  }

  // One iteration with everything granted.
  absl::StatusOr<TrainingJob::Progress> Iterate(TrainingJob& job) {
    Offers offers;
    job.AppendOffers(offers);
    const Grants grants = GrantSome(offers, nullptr);
    Batch batch;
    for (const SpanGrant& grant : grants.spans) EXPECT_TRUE(job.Emit(grant, batch));
    for (const BackwardGrant& grant : grants.backward) EXPECT_TRUE(job.Emit(grant, batch));
    StepResult result = RunFakeModel(batch);
    if (tamper_) tamper_(batch, result);
    job.Launched(batch, result.backward_skipped);
    return job.Commit(batch, result);
  }

  void RunToEnd(TrainingJob& job) {
    for (int i = 0; i < 10'000; ++i) {
      const auto progress = Iterate(job);
      ASSERT_TRUE(progress.ok()) << progress.status();
      if (*progress == TrainingJob::Progress::kTrained) return;
    }
    FAIL() << "the job does not end";
  }

  std::vector<JobEvent> EventsOf(JobEventKind kind) const {
    std::vector<JobEvent> events;
    for (const JobEvent& event : sink_->events()) {
      if (event.kind == kind) events.push_back(event);
    }
    return events;
  }

  JobId id_ = 0;
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::function<void(const Batch&, StepResult&)> tamper_;
};

TEST_F(JobTest, AnEpochIsCutIntoStepsAndEachIsReported) {
  JobSpec spec = Spec("poet", 5);  // samples of 4, 11, 8, 5 and 12 rows
  spec.hyperparameters.epochs = 2;
  spec.hyperparameters.micro_batch = 2;
  spec.hyperparameters.shuffle = false;
  spec.hyperparameters.schedule = LrSchedule::kLinear;
  spec.hyperparameters.learning_rate = 0.1;
  const auto job = Start(std::move(spec));
  EXPECT_EQ(InfoOfJob(id_).state, JobState::kRunning);
  RunToEnd(*job);

  const std::vector<JobEvent> steps = EventsOf(JobEventKind::kStep);
  std::vector<int64_t> tokens;
  for (size_t t = 0; t < steps.size(); ++t) {
    EXPECT_EQ(steps[t].step, static_cast<int>(t) + 1);
    EXPECT_DOUBLE_EQ(steps[t].loss, 1);  // the fake model's, mean over learned tokens
    EXPECT_DOUBLE_EQ(steps[t].learning_rate, 0.1 * (1 - static_cast<double>(t) / 6));
    EXPECT_GT(steps[t].gradient_norm, 0);
    tokens.push_back(steps[t].tokens);
  }
  EXPECT_THAT(tokens, ElementsAre(15, 13, 12, 15, 13, 12));
  EXPECT_EQ(InfoOfJob(id_).step, 6);
  EXPECT_DOUBLE_EQ(InfoOfJob(id_).epoch, 2);
  EXPECT_EQ(InfoOfJob(id_).trained_tokens, 80);
  EXPECT_EQ(job->trained_tokens(), 80);
}

TEST_F(JobTest, ItSucceedsWhenItsAdapterIsServed) {
  const auto job = Start(Spec());
  RunToEnd(*job);
  EXPECT_EQ(InfoOfJob(id_).state, JobState::kRunning);
  io_.RunAll();
  EXPECT_EQ(InfoOfJob(id_).state, JobState::kSucceeded);
  EXPECT_EQ(InfoOfJob(id_).adapter_generation, 1);
  EXPECT_EQ((*store_.Acquire("poet"))->info().job_id, JobRegistry::IdOf(id_));
}

TEST_F(JobTest, EveryFewStepsItPublishesAndOnceAtTheEnd) {
  JobSpec spec = Spec("poet", 4);
  spec.publish_every_steps = 2;
  const auto job = Start(std::move(spec));
  while (InfoOfJob(id_).step < 4) {
    ASSERT_TRUE(Iterate(*job).ok());
    io_.RunAll();
  }
  std::vector<int> steps;
  for (const JobEvent& event : EventsOf(JobEventKind::kPublished)) steps.push_back(event.step);
  EXPECT_THAT(steps, ElementsAre(2, 4));
  EXPECT_EQ(InfoOfJob(id_).adapter_generation, 2);
}

TEST_F(JobTest, SamplesComeInTheSeedsOrder) {
  JobSpec spec = Spec("poet", 5);
  spec.hyperparameters.seed = 3;
  const auto job = Start(std::move(spec));
  RunToEnd(*job);
  const std::vector<int> rows = {4, 11, 8, 5, 12};
  std::vector<int64_t> want;
  for (const int i : EpochOrder(5, 3, 0, Shuffle::kYes)) want.push_back(rows[i]);
  std::vector<int64_t> tokens;
  for (const JobEvent& event : EventsOf(JobEventKind::kStep)) tokens.push_back(event.tokens);
  EXPECT_EQ(tokens, want);
}

TEST_F(JobTest, ALossThatIsNotFiniteNamesStepAndSample) {
  JobSpec spec = Spec("poet", 3);
  spec.hyperparameters.shuffle = false;
  const auto job = Start(std::move(spec));
  int spans = 0;
  tamper_ = [&](const Batch& batch, StepResult& result) {
    for (double& loss : result.losses) {
      if (++spans == 3) loss = std::numeric_limits<double>::quiet_NaN();  // samples of 4 and 11 rows, windows of 6
    }
  };
  absl::Status status;
  while (status.ok()) status = Iterate(*job).status();
  EXPECT_EQ(status.message(),
            "step 2: the loss of the sample in line 2 is nan, want a finite number; a lower learning rate may help");
}

TEST_F(JobTest, AGradientThatIsNotFiniteNamesTheStep) {
  const auto job = Start(Spec("poet", 3));
  tamper_ = [&](const Batch& batch, StepResult& result) {
    for (const BackwardUnit& unit : batch.backward) {
      unit.tape->gradients()[0].linears[0].da.f32()[0] = std::numeric_limits<float>::infinity();
    }
  };
  absl::Status status;
  while (status.ok()) status = Iterate(*job).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 1: the gradient norm is inf"));
}

TEST_F(JobTest, AFailedPublicationGivesTheJobUp) {
  JobSpec spec = Spec("poet", 5);
  spec.publish_every_steps = 1;
  const auto job = Start(std::move(spec));
  std::ofstream(directory_.path() + "/adapters") << "a file in the place of the directory";
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = Iterate(*job).status();
    io_.RunAll();
  }
  EXPECT_THAT(std::string(status.message()), HasSubstr("publishing adapter 'poet': "));
}

TEST_F(JobTest, ItsEndGivesBackItsBlocks) {
  auto job = Start(Spec());
  ASSERT_TRUE(Iterate(*job).ok());
  EXPECT_GT(pool_.used(), 0);
  job.reset();
  EXPECT_EQ(pool_.used(), 0);
}

}  // namespace
}  // namespace tandem
