#include "training/training_source.h"

#include <limits>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "adapter/peft_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/recording_sink.h"
#include "training/training_fixture.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TrainingSourceTest : public TrainingFixture {
 protected:
  JobId Enqueue(TrainingSource& source, JobSpec spec) {
    PreparedJob prepared = Prepare(std::move(spec));
    const JobId id = Register(prepared);
    source.Enqueue(id, std::move(prepared));
    return id;
  }

  // One iteration with a random part, or all, of the offers granted.
  Batch Iterate(TrainingSource& source, std::mt19937* random = nullptr) {
    Batch batch;
    source.Emit(GrantSome(source.CollectOffers(now_), random), batch);
    source.Commit(batch, RunFakeModel(batch), now_);
    return batch;
  }

  static bool Busy(const TrainingSource& source) { return source.running_jobs() + source.queued_jobs() > 0; }

  void RunToEnd(TrainingSource& source, std::mt19937* random = nullptr) {
    for (int i = 0; i < 100'000 && Busy(source); ++i) Iterate(source, random);
    EXPECT_FALSE(Busy(source));
    io_.RunAll();
  }
};

TEST_F(TrainingSourceTest, WithoutJobsItOffersNothing) {
  const TrainingSource source(parts());
  EXPECT_THAT(source.CollectOffers(now_).spans, IsEmpty());
  EXPECT_THAT(source.CollectOffers(now_).backward, IsEmpty());
}

TEST_F(TrainingSourceTest, OffersDoNotChangeWhenAskedAgain) {
  TrainingSource source(parts());
  Enqueue(source, Spec());
  const Offers first = source.CollectOffers(now_), second = source.CollectOffers(now_);
  ASSERT_EQ(first.spans.size(), 1u);
  EXPECT_EQ(first.spans[0].sequence, second.spans[0].sequence);
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(TrainingSourceTest, JobsBeyondTheLimitWaitInOrder) {
  TrainingSource source(parts());
  for (const char* name : {"a", "b", "c", "d"}) Enqueue(source, Spec(name));
  EXPECT_EQ(source.running_jobs(), 2);
  EXPECT_EQ(source.queued_jobs(), 2);
  EXPECT_EQ(InfoOfJob(3).state, JobState::kQueued);
  source.Cancel(1);
  EXPECT_EQ(InfoOfJob(3).state, JobState::kRunning);
  EXPECT_EQ(InfoOfJob(4).state, JobState::kQueued);
  RunToEnd(source);
  for (const JobId job : {2, 3, 4}) EXPECT_EQ(InfoOfJob(job).state, JobState::kSucceeded) << job;
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(TrainingSourceTest, TheLeastRecentlyServedJobIsOfferedFirst) {
  TrainingSource source(parts());
  Enqueue(source, Spec("a"));
  Enqueue(source, Spec("b"));
  std::vector<SequenceId> firsts;
  for (int i = 0; i < 4; ++i) {
    const Offers offers = source.CollectOffers(now_);
    ASSERT_EQ(offers.spans.size(), 2u);
    firsts.push_back(offers.spans[0].sequence);
    Batch batch;
    source.Emit({.spans = {{offers.spans[0].sequence, 1}}, .backward = {}}, batch);
    source.Commit(batch, RunFakeModel(batch), now_);
  }
  EXPECT_THAT(firsts, ElementsAre(1, 2, 1, 2));
}

TEST_F(TrainingSourceTest, SpansOfOtherSourcesArePassedOver) {
  TrainingSource source(parts());
  Enqueue(source, Spec());
  Batch batch;
  Span& decode = batch.spans.emplace_back();
  decode.sequence = 999;
  decode.kind = SpanKind::kDecode;
  decode.num_rows = 1;
  batch.token_ids = {7};
  batch.labels = {kIgnoredLabel};
  const Offers offers = source.CollectOffers(now_);
  source.Emit({.spans = {{offers.spans[0].sequence, 2}}, .backward = {}}, batch);
  EXPECT_EQ(batch.spans[1].first_row, 1);
  StepResult result = RunFakeModel(batch);
  result.losses[0] = std::numeric_limits<double>::quiet_NaN();  // not ours to look at
  source.Commit(batch, result, now_);
  EXPECT_EQ(source.CollectOffers(now_).spans[0].first_position, 2);
}

TEST_F(TrainingSourceTest, SequencesThatArePreemptedGiveTheirBlocksBack) {
  TrainingSource source(parts());
  Enqueue(source, Spec("a"));
  Enqueue(source, Spec("b"));
  Iterate(source);
  const std::vector<HeldBlocks> held = source.CollectOffers(now_).held;
  ASSERT_EQ(held.size(), 2u);
  EXPECT_EQ(held[0].blocks + held[1].blocks, pool_.used());
  Batch batch;
  source.Emit({.preempted = {held[1].sequence}}, batch);
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(pool_.used(), held[0].blocks);
  RunToEnd(source);
  for (const JobId job : {1, 2}) EXPECT_EQ(InfoOfJob(job).state, JobState::kSucceeded) << job;
}

TEST_F(TrainingSourceTest, AJobCancelledInTheQueueEndsAtOnce) {
  options_.max_running_jobs = 1;
  TrainingSource source(parts());
  Enqueue(source, Spec("a"));
  const JobId waiting = Enqueue(source, Spec("b"));
  source.Cancel(waiting);
  EXPECT_EQ(InfoOfJob(waiting).state, JobState::kCancelled);
  EXPECT_EQ(source.queued_jobs(), 0);
}

TEST_F(TrainingSourceTest, CancellingAnUnknownJobIsIgnored) {
  TrainingSource source(parts());
  Enqueue(source, Spec());
  source.Cancel(77);
  EXPECT_EQ(source.running_jobs(), 1);
}

// After any number of iterations: all blocks are back, the working copy is gone, the other job is not disturbed.
TEST_F(TrainingSourceTest, CancellingAtAnyPointLeavesNothingBehind) {
  JobSpec spec = Spec("a");
  spec.hyperparameters.gradient_accumulation = 2;
  for (int iterations = 0; iterations < 30; ++iterations) {
    std::mt19937 random(static_cast<unsigned>(iterations));
    TrainingSource source(parts());
    const JobId cancelled = Enqueue(source, spec);
    const JobId other = Enqueue(source, Spec("b"));
    std::set<int32_t> adapters;
    for (int i = 0; i < iterations; ++i) {
      for (const Span& span : Iterate(source, &random).spans) adapters.insert(span.adapter.id);
    }
    source.Cancel(cancelled);
    source.Cancel(cancelled);
    io_.RunAll();
    EXPECT_TRUE(IsFinal(InfoOfJob(cancelled).state));
    RunToEnd(source, &random);
    EXPECT_EQ(InfoOfJob(other).state, JobState::kSucceeded);
    EXPECT_EQ(pool_.free(), kNumBlocks);
    for (const int32_t id : adapters) EXPECT_EQ(store_.Find({.id = id, .generation = 0}), nullptr);
  }
}

TEST_F(TrainingSourceTest, ACancelledJobEndsAsCancelledAndIsNotPublished) {
  TrainingSource source(parts());
  const JobId job = Enqueue(source, Spec());
  Iterate(source);
  ASSERT_TRUE(registry_.RequestCancel(JobRegistry::IdOf(job)).ok());
  source.Cancel(job);
  EXPECT_EQ(pool_.used(), 0);
  io_.RunAll();
  EXPECT_EQ(InfoOfJob(job).state, JobState::kCancelled);
  EXPECT_FALSE(store_.Acquire("poet").ok());
}

TEST_F(TrainingSourceTest, AJobThatFailsDoesNotDisturbTheOthers) {
  TrainingSource source(parts());
  const JobId bad = Enqueue(source, Spec("a"));
  const JobId good = Enqueue(source, Spec("b"));
  const Offers offers = source.CollectOffers(now_);
  Batch batch;
  source.Emit(GrantSome(offers, nullptr), batch);
  StepResult result = RunFakeModel(batch);
  result.losses[0] = std::numeric_limits<double>::infinity();
  source.Commit(batch, result, now_);
  RunToEnd(source);
  EXPECT_EQ(InfoOfJob(bad).state, JobState::kFailed);
  EXPECT_THAT(std::string(InfoOfJob(bad).error.message()), HasSubstr("is inf"));
  EXPECT_EQ(InfoOfJob(good).state, JobState::kSucceeded);
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(TrainingSourceTest, WhenTheDaemonStopsAllJobsFailWithTheReason) {
  TrainingSource source(parts());
  for (const char* name : {"a", "b", "c"}) Enqueue(source, Spec(name));
  Iterate(source);
  source.FailAll(absl::UnavailableError("the daemon stops"));
  io_.RunAll();
  for (const JobId job : {1, 2, 3}) {
    EXPECT_EQ(InfoOfJob(job).state, JobState::kFailed);
    EXPECT_EQ(InfoOfJob(job).error, absl::UnavailableError("the daemon stops"));
  }
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_FALSE(Busy(source));
}

TEST_F(TrainingSourceTest, TrainedTokensCountAlsoJobsThatHaveEnded) {
  TrainingSource source(parts());
  Enqueue(source, Spec("a"));
  RunToEnd(source);
  Enqueue(source, Spec("b"));
  RunToEnd(source);
  EXPECT_EQ(source.trained_tokens(), 80);
  EXPECT_EQ(InfoOfJob(2).trained_tokens, 40);
}

TEST_F(TrainingSourceTest, AJobGoesOnFromWhatAnotherPublished) {
  TrainingSource source(parts());
  Enqueue(source, Spec("first"));
  RunToEnd(source);
  JobSpec spec = Spec("second");
  spec.init_from_adapter = "first";
  spec.peft = {.method = std::nullopt, .rank = 0, .alpha = 0, .target_modules = {}};
  const PreparedJob prepared = Prepare(spec);
  EXPECT_NE(prepared.weights.bypasses()[0].b.f32()[0], 0);
  Enqueue(source, spec);
  RunToEnd(source);
  EXPECT_EQ(InfoOfJob(2).state, JobState::kSucceeded);
}

// Two jobs under any grants: the units of each come in one order, the losses are the same, and so is every bit of what
// is published.
TEST_F(TrainingSourceTest, NoSequenceOfGrantsChangesAnything) {
  using Unit = std::tuple<int, int, int>;
  std::map<std::string, std::vector<Unit>> want_units;
  std::map<std::string, std::vector<float>> want_weights;
  std::map<std::string, std::vector<double>> want_norms;
  for (unsigned trial = 0; trial < 25; ++trial) {
    std::mt19937 random(trial);
    TrainingSource source(parts());
    std::map<JobId, std::string> names;
    std::map<JobId, std::shared_ptr<RecordingSink>> sinks;
    for (const char* name : {"a", "b"}) {
      JobSpec spec = Spec(name, name[0] == 'a' ? 5 : 7);
      spec.hyperparameters.epochs = 2;
      spec.hyperparameters.micro_batch = 3;
      spec.hyperparameters.learning_rate = 0.05;
      const JobId job = Enqueue(source, std::move(spec));
      names[job] = name;
      sinks[job] = std::make_shared<RecordingSink>();
      ASSERT_TRUE(registry_.Watch(JobRegistry::IdOf(job), 1, sinks[job]).ok());
    }
    std::map<std::string, std::vector<Unit>> units;
    while (Busy(source)) {
      for (const BackwardUnit& unit : Iterate(source, trial == 0 ? nullptr : &random).backward) {
        units[names[unit.job]].emplace_back(unit.layer, unit.window.begin, unit.window.end);
      }
    }
    io_.RunAll();
    std::map<std::string, std::vector<float>> weights;
    std::map<std::string, std::vector<double>> norms;
    for (const auto& [job, name] : names) {
      const auto written = ReadPeftAdapter((*store_.Acquire(name))->info().path, desc_.linear_shapes());
      ASSERT_TRUE(written.ok()) << written.status();
      for (const BypassWeights& pair : written->bypasses()) {
        for (const Tensor* tensor : {&pair.a, &pair.b}) {
          weights[name].insert(weights[name].end(), tensor->f32(), tensor->f32() + tensor->num_elements());
        }
      }
      for (const JobEvent& event : sinks[job]->events()) {
        if (event.kind == JobEventKind::kStep) norms[name].push_back(event.gradient_norm);
      }
    }
    if (trial == 0) {
      want_units = units;
      want_weights = weights;
      want_norms = norms;
    }
    EXPECT_EQ(units, want_units);
    EXPECT_EQ(weights, want_weights);
    EXPECT_EQ(norms, want_norms);
    EXPECT_EQ(pool_.used(), 0);
  }
  EXPECT_NE(want_weights["a"], want_weights["b"]);
}

}  // namespace
}  // namespace tandem
