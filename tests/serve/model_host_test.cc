// Loading and unloading: what callers get in every state, who is waited for, and what a failure leaves behind.
#include "serve/core/model_host.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/fakes.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Tells in which order things happened.
class RecordingObserver : public ModelObserver {
 public:
  void OnServing(bool serving) override { Add(serving ? "serving" : "not serving"); }
  void OnDrained() override { Add("drained"); }
  void Add(const std::string& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back(event);
  }
  std::vector<std::string> events() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return events_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> events_;
};

class ModelHostTest : public testing::Test {
 protected:
  // The next load goes on until the promise is kept, or it is told to end.
  void HoldLoads() {
    on_load_ = [this](const LoadProgress& progress) -> absl::Status {
      RETURN_IF_ERROR(progress(0.25));
      loading_.set_value();
      while (go_on_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) RETURN_IF_ERROR(progress(0.25));
      return absl::OkStatus();
    };
  }

  std::future<absl::StatusOr<ModelInfo>> Load(const ModelSource& source) {
    const auto loaded = std::make_shared<std::promise<absl::StatusOr<ModelInfo>>>();
    host_.Load(source, [loaded](absl::StatusOr<ModelInfo> info) { loaded->set_value(std::move(info)); });
    return loaded->get_future();
  }
  std::future<absl::Status> Unload(const std::string& name, absl::Duration grace = absl::Seconds(1)) {
    const auto unloaded = std::make_shared<std::promise<absl::Status>>();
    host_.Unload(name, grace, [unloaded](absl::Status status) { unloaded->set_value(status); });
    return unloaded->get_future();
  }

  class CountedModel : public FakeModel {
   public:
    CountedModel(ModelHostTest* test)
        : FakeModel(&test->engine_,
                    [test](absl::Duration grace, std::string_view reason) { test->on_drain_(grace, reason); }),
          alive_(&test->alive_) {
      ++*alive_;
    }
    ~CountedModel() override { --*alive_; }

   private:
    std::atomic<int>* const alive_;
  };

  FakeEngine engine_;
  std::atomic<int> alive_ = 0;  // models in memory
  std::function<absl::Status(const LoadProgress&)> on_load_ = [](const LoadProgress&) { return absl::OkStatus(); };
  std::function<void(absl::Duration, std::string_view)> on_drain_ = [](absl::Duration, std::string_view) {};
  std::promise<void> loading_, loaded_;
  std::shared_future<void> go_on_ = loaded_.get_future().share();
  ModelHost host_{
      [this](const ModelSource&, const LoadProgress& progress) -> absl::StatusOr<std::unique_ptr<LoadedModel>> {
        RETURN_IF_ERROR(on_load_(progress));
        return std::make_unique<CountedModel>(this);
      },
      absl::Seconds(30)};
};

TEST_F(ModelHostTest, WithoutAModelACallIsToldHowToLoadOne) {
  const absl::Status status = host_.Lease().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tandem models load PATH"));
  EXPECT_FALSE(host_.Info().has_value());
  EXPECT_EQ(host_.Get("demo").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelHostTest, ALoadedModelIsServedUnderItsName) {
  const auto loaded = Load({"models/demo", "mine"}).get();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->state, ModelState::kReady);
  EXPECT_EQ(loaded->engine->max_context, FakeEngine::kMaxContext);
  const auto lease = host_.Lease();
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ((*lease)->name, "mine");
  EXPECT_TRUE(host_.Get("mine").ok());
  EXPECT_THAT(std::string(host_.Get("demo").status().message()), HasSubstr("want 'mine'"));
}

TEST_F(ModelHostTest, WhileItLoadsCallsAreUnavailableAndProgressIsSeen) {
  HoldLoads();
  auto loaded = Load({"models/demo", "demo"});
  loading_.get_future().wait();
  EXPECT_EQ(host_.Lease().status(),
            absl::UnavailableError("model 'demo' is being loaded, 25 % are done; try again soon"));
  EXPECT_EQ(host_.Info()->state, ModelState::kLoading);
  EXPECT_EQ(host_.Info()->progress, 0.25);
  EXPECT_EQ(Load({"models/other", "other"}).get().status().code(), absl::StatusCode::kUnavailable);
  loaded_.set_value();
  EXPECT_TRUE(loaded.get().ok());
  EXPECT_TRUE(host_.Lease().ok());
}

TEST_F(ModelHostTest, OneModelAtATime) {
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  EXPECT_EQ(Load({"models/demo", "demo"}).get().status().code(), absl::StatusCode::kAlreadyExists);
  const absl::Status other = Load({"models/other", "other"}).get().status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("tandem models unload demo"));
  EXPECT_EQ(alive_, 1);
}

TEST_F(ModelHostTest, AFailedLoadSaysWhyAndLeavesRoomForTheNext) {
  on_load_ = [](const LoadProgress&) { return absl::InvalidArgumentError("x/config.json: no such field"); };
  EXPECT_EQ(Load({"x", "x"}).get().status(), absl::InvalidArgumentError("x/config.json: no such field"));
  EXPECT_FALSE(host_.Info().has_value());
  on_load_ = [](const LoadProgress&) { return absl::OkStatus(); };
  EXPECT_TRUE(Load({"y", "y"}).get().ok());
}

TEST_F(ModelHostTest, UnloadWaitsForLeasesAndThenFreesTheModel) {
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  absl::StatusOr<ModelLease> lease = host_.Lease();
  std::promise<void> drained;
  std::string why;
  on_drain_ = [&](absl::Duration, std::string_view reason) {
    why = reason;
    drained.set_value();
  };
  auto unloaded = Unload("demo");
  drained.get_future().wait();
  EXPECT_EQ(why, "model 'demo' is being unloaded");
  EXPECT_EQ(host_.Lease().status(), absl::UnavailableError("model 'demo' is being unloaded"));
  EXPECT_EQ(host_.Info()->state, ModelState::kUnloading);
  EXPECT_EQ(Unload("demo").get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(alive_, 1);
  lease->reset();
  EXPECT_TRUE(unloaded.get().ok());
  EXPECT_EQ(alive_, 0);
  EXPECT_FALSE(host_.Info().has_value());
  on_drain_ = [](absl::Duration, std::string_view) {};
  EXPECT_TRUE(Load({"models/demo", "demo"}).get().ok());
}

TEST_F(ModelHostTest, UnloadNamesWhatIsLoaded) {
  EXPECT_EQ(Unload("demo").get().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  EXPECT_EQ(Unload("dmo").get().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(host_.Lease().ok());
}

TEST_F(ModelHostTest, UnloadEndsALoad) {
  HoldLoads();
  auto loaded = Load({"models/demo", "demo"});
  loading_.get_future().wait();
  EXPECT_TRUE(Unload("demo").get().ok());
  EXPECT_EQ(loaded.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(host_.Info().has_value());
}

TEST_F(ModelHostTest, TheGraceHasALimit) {
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  absl::Duration given;
  on_drain_ = [&](absl::Duration grace, std::string_view) { given = grace; };
  EXPECT_TRUE(Unload("demo", absl::InfiniteDuration()).get().ok());
  EXPECT_EQ(given, absl::Seconds(30));
}

TEST_F(ModelHostTest, DrainEndsALoadAndTakesNoMore) {
  HoldLoads();
  auto loaded = Load({"models/demo", "demo"});
  loading_.get_future().wait();
  host_.Drain(absl::Seconds(1));
  EXPECT_EQ(loaded.get().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Load({"models/demo", "demo"}).get().status(), absl::UnavailableError("tandemd is shutting down"));
}

TEST_F(ModelHostTest, DrainKeepsTheModelForThoseWhoHoldIt) {
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  std::string why;
  on_drain_ = [&](absl::Duration, std::string_view reason) { why = reason; };
  host_.Drain(absl::Seconds(1));
  EXPECT_EQ(why, "the daemon is shutting down");
  EXPECT_TRUE(host_.Lease().ok());
  EXPECT_EQ(alive_, 1);
}

TEST_F(ModelHostTest, TheObserverHearsOfEveryTurn) {
  RecordingObserver observer;
  host_.SetObserver(&observer);
  on_drain_ = [&](absl::Duration, std::string_view) { observer.Add("draining"); };
  ASSERT_TRUE(Load({"models/demo", "demo"}).get().ok());
  ASSERT_TRUE(Unload("demo").get().ok());
  host_.SetObserver(nullptr);
  EXPECT_THAT(observer.events(), testing::ElementsAre("not serving", "serving", "not serving", "draining", "drained"));
}

TEST(ModelNameTest, IsTheLastPartOfThePath) {
  EXPECT_EQ(ModelName("models/demo"), "demo");
  EXPECT_EQ(ModelName("models/demo/"), "demo");
  EXPECT_EQ(ModelName("/data/./llama//"), "llama");
  EXPECT_EQ(ModelName("demo"), "demo");
}

}  // namespace
}  // namespace tandem
