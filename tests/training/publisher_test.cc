#include "training/publisher.h"

#include <filesystem>
#include <fstream>

#include "adapter/peft_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/recording_sink.h"
#include "training/training_fixture.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

namespace fs = std::filesystem;

class PublisherTest : public TrainingFixture {
 protected:
  void SetUp() override {
    job_ = registry_.Create({}, "").number;
    registry_.MarkRunning(job_);
    weights_ = Prepare(Spec()).weights;
  }
  JobInfo Info() const { return InfoOfJob(job_); }
  std::string Directory(int number) const { return directory_.path() + "/adapters/poet/" + std::to_string(number); }

  JobId job_ = 0;
  AdapterWeights weights_;
};

TEST_F(PublisherTest, AGenerationIsOnDiskServedAndReported) {
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 3);
  EXPECT_FALSE(store_.Acquire("poet").ok());
  io_.RunAll();

  const auto adapter = store_.Acquire("poet");
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ((*adapter)->info().generation, 1);
  EXPECT_EQ((*adapter)->info().path, Directory(1));
  EXPECT_EQ((*adapter)->info().job_id, "job-1");
  EXPECT_EQ(Info().adapter_generation, 1);
  EXPECT_EQ(Info().state, JobState::kRunning);
  const auto written = ReadPeftAdapter(Directory(1), desc_.linear_shapes());
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->num_parameters(), weights_.num_parameters());
}

TEST_F(PublisherTest, WhatIsPublishedIsACopyOfThatMoment) {
  const float before = weights_.bypasses()[0].a.f32()[0];
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 3);
  weights_.bypasses()[0].a.f32()[0] = 100;
  io_.RunAll();
  const auto written = ReadPeftAdapter(Directory(1), desc_.linear_shapes());
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->bypasses()[0].a.f32()[0], before);
}

TEST_F(PublisherTest, GenerationsHaveDirectoriesOfTheirNumber) {
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  publisher.Publish(weights_.Clone(), 2);
  io_.RunAll();
  EXPECT_TRUE(fs::exists(Directory(1)));
  EXPECT_TRUE(fs::exists(Directory(2)));
  EXPECT_EQ((*store_.Acquire("poet"))->info().path, Directory(2));
  EXPECT_EQ(Info().adapter_generation, 2);
}

TEST_F(PublisherTest, ADirectoryOfAnEarlierProcessIsNotTouched) {
  fs::create_directories(Directory(7));
  std::ofstream(Directory(7) + "/keep") << "x";
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  io_.RunAll();
  EXPECT_EQ((*store_.Acquire("poet"))->info().path, Directory(8));
  EXPECT_TRUE(fs::exists(Directory(7) + "/keep"));
}

TEST_F(PublisherTest, AGenerationLoadedFromElsewhereHasItsNumberTaken) {
  ASSERT_TRUE(store_.Publish("poet", weights_, "/elsewhere", "").ok());
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  io_.RunAll();
  EXPECT_EQ((*store_.Acquire("poet"))->info().generation, 2);
  EXPECT_EQ((*store_.Acquire("poet"))->info().path, Directory(2));
}

TEST_F(PublisherTest, TheJobSucceedsOnlyWhenItsLastGenerationIsServed) {
  Publisher publisher(publication(), job_, "poet");
  publisher.PublishAndFinish(weights_.Clone());
  EXPECT_EQ(Info().state, JobState::kRunning);
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 3, sink).ok());
  io_.RunAll();
  EXPECT_EQ(Info().state, JobState::kSucceeded);
  ASSERT_EQ(sink->events().size(), 2u);
  EXPECT_EQ(sink->events()[0].kind, JobEventKind::kPublished);
  EXPECT_EQ(sink->events()[1].state, JobState::kSucceeded);
}

TEST_F(PublisherTest, AFailedWriteFailsTheJobWithTheReason) {
  std::ofstream(directory_.path() + "/adapters") << "a file in the place of the directory";
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  EXPECT_TRUE(publisher.failure().ok());
  io_.RunAll();
  EXPECT_THAT(std::string(publisher.failure().message()), HasSubstr("publishing adapter 'poet': "));

  publisher.PublishAndFinish(weights_.Clone());
  io_.RunAll();
  EXPECT_EQ(Info().state, JobState::kFailed);
  EXPECT_EQ(Info().error, publisher.failure());
  EXPECT_FALSE(store_.Acquire("poet").ok());
}

TEST_F(PublisherTest, AJobCancelledBeforeTheWriteIsNotPublished) {
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  publisher.PublishAndFinish(weights_.Clone());
  ASSERT_TRUE(registry_.RequestCancel("job-1").ok());
  io_.RunAll();
  EXPECT_EQ(Info().state, JobState::kCancelled);
  EXPECT_FALSE(store_.Acquire("poet").ok());
  EXPECT_FALSE(fs::exists(Directory(1)));
}

TEST_F(PublisherTest, TheEndComesAfterThePublicationsUnderWay) {
  Publisher publisher(publication(), job_, "poet");
  publisher.Publish(weights_.Clone(), 1);
  publisher.Finish(JobState::kFailed, absl::InternalError("no"));
  EXPECT_EQ(Info().state, JobState::kRunning);
  io_.RunAll();
  EXPECT_EQ(Info().state, JobState::kFailed);
  EXPECT_EQ(Info().adapter_generation, 1);
}

TEST_F(PublisherTest, CopiesDoNotPileUpBehindASlowDisk) {
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 3, sink).ok());
  Publisher publisher(publication(), job_, "poet");
  for (int step = 1; step <= 5; ++step) publisher.Publish(weights_.Clone(), step);
  EXPECT_EQ(io_.pending(), 2u);
  ASSERT_EQ(sink->events().size(), 3u);
  EXPECT_EQ(sink->events()[0].message, "publication at step 3 left out: 2 are still being written");
  publisher.PublishAndFinish(weights_.Clone());
  io_.RunAll();
  EXPECT_EQ(Info().adapter_generation, 3);
  EXPECT_EQ(Info().state, JobState::kSucceeded);
}

TEST(IoThread, RunsTasksInOrderAndFinishesThemBeforeItEnds) {
  std::vector<int> ran;
  {
    IoThread io;
    for (int i = 0; i < 100; ++i) io.Submit([&ran, i] { ran.push_back(i); });
  }
  ASSERT_EQ(ran.size(), 100u);
  EXPECT_TRUE(std::is_sorted(ran.begin(), ran.end()));
}

}  // namespace
}  // namespace tandem
