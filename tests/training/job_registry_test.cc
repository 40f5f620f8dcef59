#include "training/job_registry.h"

#include <numeric>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/recording_sink.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

JobInfo Named(std::string adapter) {
  JobInfo info;
  info.adapter_name = std::move(adapter);
  return info;
}

class JobRegistryTest : public ::testing::Test {
 protected:
  JobId Add(const std::string& key = "") { return registry_.Create(Named("a"), key).number; }
  JobInfo Get(const std::string& id) { return registry_.Get(id).value_or(JobInfo()); }

  absl::Time now_ = absl::UnixEpoch();
  JobRegistry registry_{[this] { return now_; }, /*max_events=*/200};
};

TEST_F(JobRegistryTest, JobsAreNumberedFromOneAndListedOldestFirst) {
  Add();
  now_ += absl::Seconds(1);
  Add();
  const std::vector<JobInfo> jobs = registry_.List();
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].id, "job-1");
  EXPECT_EQ(jobs[1].id, "job-2");
  EXPECT_EQ(jobs[1].state, JobState::kQueued);
  EXPECT_EQ(jobs[1].created, now_);
}

TEST_F(JobRegistryTest, AnUnknownJobIsRefusedWithTheNearestIds) {
  Add();
  for (const std::string id : {"job-2", "job-0", "job--1", "job-01", "job-1 ", "job-99999999999999999999", "1", ""}) {
    EXPECT_EQ(registry_.Get(id).status().code(), absl::StatusCode::kNotFound) << id;
  }
  EXPECT_EQ(registry_.Get("job-2").status().message(), "unknown job 'job-2'; did you mean 'job-1'?");
}

TEST_F(JobRegistryTest, AKeyCreatesOnce) {
  const auto first = registry_.Create(Named("a"), "key");
  const auto second = registry_.Create(Named("b"), "key");
  EXPECT_TRUE(first.is_new);
  EXPECT_FALSE(second.is_new);
  EXPECT_EQ(second.number, first.number);
  EXPECT_EQ(second.info.adapter_name, "a");
  EXPECT_EQ(registry_.FindByKey("key")->id, "job-1");
  EXPECT_EQ(registry_.FindByKey("other"), std::nullopt);
}

TEST_F(JobRegistryTest, NoKeyIsNoKey) {
  EXPECT_EQ(Add(""), 1);
  EXPECT_EQ(Add(""), 2);
  EXPECT_EQ(registry_.FindByKey(""), std::nullopt);
}

TEST_F(JobRegistryTest, AJobsWayIsSeenInItsInfo) {
  const JobId job = Add();
  now_ += absl::Seconds(1);
  registry_.MarkRunning(job);
  EXPECT_EQ(Get("job-1").state, JobState::kRunning);
  EXPECT_EQ(Get("job-1").started, now_);
  now_ += absl::Seconds(2);
  registry_.AddTokens(job, 100);
  registry_.ReportStep(job, {.step = 3, .epoch = 0.5, .loss = 1.25});
  EXPECT_EQ(Get("job-1").step, 3);
  EXPECT_EQ(Get("job-1").epoch, 0.5);
  EXPECT_EQ(Get("job-1").loss, 1.25);
  EXPECT_EQ(Get("job-1").trained_tokens, 100);
  EXPECT_DOUBLE_EQ(Get("job-1").tokens_per_second, 50);
  registry_.ReportPublished(job, 4);
  EXPECT_EQ(Get("job-1").adapter_generation, 4);
  registry_.Finish(job, JobState::kFailed, absl::InternalError("disk full"));
  EXPECT_EQ(Get("job-1").state, JobState::kFailed);
  EXPECT_EQ(Get("job-1").error, absl::InternalError("disk full"));
  EXPECT_EQ(Get("job-1").finished, now_);
  EXPECT_EQ(Get("job-1").tokens_per_second, 0);
}

TEST_F(JobRegistryTest, AWatcherGetsTheEventsSoFarThenTheComingOnesThenTheEnd) {
  const JobId job = Add();
  registry_.MarkRunning(job);
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 1, sink).ok());
  EXPECT_THAT(sink->numbers(), ElementsAre(1, 2));
  now_ += absl::Seconds(1);
  registry_.AddTokens(job, 7);
  registry_.ReportStep(job, {.step = 1, .loss = 2, .learning_rate = 0.5, .gradient_norm = 3, .tokens = 7});
  registry_.ReportPublished(job, 9);
  registry_.ReportMessage(job, "hello");
  EXPECT_EQ(sink->ended(), 0);
  registry_.Finish(job, JobState::kSucceeded, absl::OkStatus());
  EXPECT_EQ(sink->ended(), 1);

  const std::vector<JobEvent> events = sink->events();
  EXPECT_THAT(sink->numbers(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(events[0].state, JobState::kQueued);
  EXPECT_EQ(events[1].kind, JobEventKind::kStateChanged);
  EXPECT_EQ(events[1].state, JobState::kRunning);
  EXPECT_EQ(events[2].kind, JobEventKind::kStep);
  EXPECT_EQ(events[2].time, now_);
  EXPECT_EQ(events[2].step, 1);
  EXPECT_EQ(events[2].loss, 2);
  EXPECT_EQ(events[2].learning_rate, 0.5);
  EXPECT_EQ(events[2].gradient_norm, 3);
  EXPECT_EQ(events[2].tokens, 7);
  EXPECT_DOUBLE_EQ(events[2].tokens_per_second, 7);
  EXPECT_EQ(events[3].kind, JobEventKind::kPublished);
  EXPECT_EQ(events[3].adapter_generation, 9);
  EXPECT_EQ(events[4].kind, JobEventKind::kMessage);
  EXPECT_EQ(events[4].message, "hello");
  EXPECT_EQ(events[5].state, JobState::kSucceeded);
}

TEST_F(JobRegistryTest, AReplayStartsAtTheNumberAskedFor) {
  const JobId job = Add();
  for (int i = 0; i < 5; ++i) registry_.ReportMessage(job, "m");
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 4, sink).ok());
  EXPECT_THAT(sink->numbers(), ElementsAre(4, 5, 6));
}

TEST_F(JobRegistryTest, AWatcherAheadOfTheJobStillGetsTheNextEvent) {
  const JobId job = Add();
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 50, sink).ok());
  registry_.ReportMessage(job, "m");
  EXPECT_THAT(sink->numbers(), ElementsAre(2));
}

TEST_F(JobRegistryTest, OnlyTheLastEventsAreKept) {
  const JobId job = Add();
  for (int i = 0; i < 300; ++i) registry_.ReportMessage(job, "m");
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 1, sink).ok());
  ASSERT_EQ(sink->events().size(), 200u);
  EXPECT_EQ(sink->numbers().front(), 102);
  EXPECT_EQ(sink->numbers().back(), 301);
}

TEST_F(JobRegistryTest, AJobThatHasEndedIsReplayedAndEndsAtOnce) {
  const JobId job = Add();
  registry_.Finish(job, JobState::kCancelled, absl::OkStatus());
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 1, sink).ok());
  EXPECT_THAT(sink->numbers(), ElementsAre(1, 2));
  EXPECT_EQ(sink->ended(), 1);
}

TEST_F(JobRegistryTest, AStoppedWatcherHearsNothingMore) {
  const JobId job = Add();
  const auto stopped = std::make_shared<RecordingSink>();
  const auto other = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 2, stopped).ok());
  ASSERT_TRUE(registry_.Watch("job-1", 2, other).ok());
  registry_.StopWatching("job-1", stopped.get());
  registry_.StopWatching("job-1", stopped.get());
  registry_.StopWatching("job-7", stopped.get());
  registry_.ReportMessage(job, "m");
  registry_.Finish(job, JobState::kCancelled, absl::OkStatus());
  EXPECT_THAT(stopped->numbers(), IsEmpty());
  EXPECT_EQ(stopped->ended(), 0);
  EXPECT_EQ(stopped.use_count(), 1);
  EXPECT_THAT(other->numbers(), ElementsAre(2, 3));
}

TEST_F(JobRegistryTest, CancellingIsAskedForOnceAndRefusedAfterTheEnd) {
  const JobId job = Add();
  EXPECT_FALSE(registry_.cancel_requested(job));
  EXPECT_EQ(registry_.RequestCancel("job-1")->state, JobState::kCancelling);
  EXPECT_EQ(registry_.RequestCancel("job-1")->state, JobState::kCancelling);
  EXPECT_TRUE(registry_.cancel_requested(job));
  registry_.Finish(job, JobState::kCancelled, absl::OkStatus());
  const absl::Status status = registry_.RequestCancel("job-1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has ended already"));
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(registry_.Watch("job-1", 1, sink).ok());
  EXPECT_EQ(sink->events().size(), 3u);
}

TEST_F(JobRegistryTest, AJobCancelledInTheQueueDoesNotLookRunningWhenItIsStarted) {
  const JobId job = Add();
  ASSERT_TRUE(registry_.RequestCancel("job-1").ok());
  registry_.MarkRunning(job);
  EXPECT_EQ(Get("job-1").state, JobState::kCancelling);
}

// A writer, and watchers that come and go at any moment: each sees every event from its first on, in order, then the
// end.
TEST_F(JobRegistryTest, WatchersUnderThreadsMissNothingAndSeeNothingTwice) {
  constexpr int kEvents = 20'000;
  JobRegistry registry([] { return absl::UnixEpoch(); });
  const JobId job = registry.Create({}, "").number;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  std::vector<std::thread> watchers;
  for (int i = 0; i < 8; ++i) {
    const auto sink = sinks.emplace_back(std::make_shared<RecordingSink>());
    watchers.emplace_back([&registry, sink] {
      for (int round = 0; round < 20; ++round) {
        const auto passing = std::make_shared<RecordingSink>();
        EXPECT_TRUE(registry.Watch("job-1", 1, passing).ok());
        registry.StopWatching("job-1", passing.get());
        const std::vector<int64_t> seen = passing->numbers();
        for (size_t n = 0; n < seen.size(); ++n) ASSERT_EQ(seen[n], static_cast<int64_t>(n) + 1);
      }
      EXPECT_TRUE(registry.Watch("job-1", 1, sink).ok());
    });
  }
  for (int i = 1; i < kEvents; ++i) registry.ReportMessage(job, "");
  registry.Finish(job, JobState::kSucceeded, absl::OkStatus());
  for (std::thread& watcher : watchers) watcher.join();

  std::vector<int64_t> all(kEvents + 1);
  std::iota(all.begin(), all.end(), 1);
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->numbers(), all);
    EXPECT_EQ(sink->ended(), 1);
    EXPECT_FALSE(sink->called_after_end());
  }
}

}  // namespace
}  // namespace tandem
