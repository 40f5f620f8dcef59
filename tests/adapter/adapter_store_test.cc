#include "adapter/adapter_store.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "adapter/peft_files.h"
#include "adapter/test_adapters.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/test_files.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AdapterStoreTest : public ::testing::Test {
 protected:
  // What the adapter's bypass on q_proj of layer 0 adds to a zero row, for x = (1, 0, 0, 0): with A and B all `value`,
  // rank 2 and scale 1, it is 2 * value * value in every place.
  float BypassWeights(const Adapter& adapter) {
    const AdapterBypass* pair = adapter.Find(0, LinearKind::kQProj);
    const LoraSegment segment = {0, 1, pair->a.get(), pair->b.get(), pair->scale};
    alignas(64) float x[4] = {1, 0, 0, 0};
    alignas(64) float y[4] = {};
    backend_->Lora(View(x, {1, 4}), {&segment, 1}, View(y, {1, 4}));
    return y[3];
  }
  AdapterWeights Weights(float value) { return TestAdapter(TinyShapes(), 2, value); }

  std::unique_ptr<Backend> backend_ = CreateCpuBackend(1);
  absl::Time now_ = absl::FromUnixSeconds(1000);
  AdapterStore store_{*backend_, TinyShapes(), [this] { return now_; }};
};

TEST_F(AdapterStoreTest, PublishNumbersGenerationsFromOne) {
  const auto first = store_.Publish("support", Weights(1), "/adapters/1", "job-7");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->name, "support");
  EXPECT_EQ(first->generation, 1);
  EXPECT_EQ(first->rank, 2);
  EXPECT_EQ(first->alpha, 2);
  EXPECT_THAT(first->target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(first->num_parameters, 2 * (2 * 4 + 4 * 2));
  EXPECT_EQ(first->path, "/adapters/1");
  EXPECT_EQ(first->job_id, "job-7");
  EXPECT_EQ(first->created, now_);
  EXPECT_EQ(store_.Publish("support", Weights(2), "", "")->generation, 2);
  EXPECT_EQ(store_.Publish("other", Weights(3), "", "")->generation, 1);
}

TEST_F(AdapterStoreTest, ANewGenerationAnswersNewRequestsWhileLeasesKeepTheirs) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  const auto old_lease = store_.Acquire("support");
  ASSERT_TRUE(store_.Publish("support", Weights(2), "", "").ok());
  const auto new_lease = store_.Acquire("support");
  ASSERT_TRUE(old_lease.ok() && new_lease.ok());
  EXPECT_EQ((*old_lease)->ref().id, (*new_lease)->ref().id);
  EXPECT_EQ((*old_lease)->ref().generation, 1);
  EXPECT_EQ((*new_lease)->ref().generation, 2);
  EXPECT_EQ(BypassWeights(*store_.Find((*old_lease)->ref())), 2.0f);
  EXPECT_EQ(BypassWeights(*store_.Find((*new_lease)->ref())), 8.0f);
}

TEST_F(AdapterStoreTest, AGenerationGoesWithItsLastLease) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  AdapterLease lease = *store_.Acquire("support");
  const AdapterRef ref = lease->ref();
  const std::weak_ptr<const Adapter> observer = lease;
  ASSERT_TRUE(store_.Publish("support", Weights(2), "", "").ok());
  EXPECT_NE(store_.Find(ref), nullptr);
  lease.reset();
  EXPECT_TRUE(observer.expired());
  EXPECT_EQ(store_.Find(ref), nullptr);
}

TEST_F(AdapterStoreTest, UnloadHidesTheNameAndKeepsLeases) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  const AdapterLease lease = *store_.Acquire("support");
  ASSERT_TRUE(store_.Unload("support").ok());
  EXPECT_EQ(store_.Acquire("support").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(store_.List(), IsEmpty());
  EXPECT_EQ(BypassWeights(*store_.Find(lease->ref())), 2.0f);
  EXPECT_EQ(store_.Unload("support").code(), absl::StatusCode::kNotFound);
}

TEST_F(AdapterStoreTest, GenerationsOfANameAreNeverReused) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  ASSERT_TRUE(store_.Unload("support").ok());
  EXPECT_EQ(store_.Publish("support", Weights(1), "", "")->generation, 2);
}

TEST_F(AdapterStoreTest, AnUnknownNameSuggestsTheNearest) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  const absl::Status status = store_.Acquire("suport").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no adapter 'suport'; did you mean 'support'?"));
  EXPECT_THAT(std::string(store_.Unload(std::string(10'000, 'x')).message()), HasSubstr("no adapter 'xxx"));
}

TEST_F(AdapterStoreTest, ListsTheNewestGenerationsByName) {
  ASSERT_TRUE(store_.Publish("b", Weights(1), "", "").ok());
  ASSERT_TRUE(store_.Publish("a", Weights(1), "", "").ok());
  ASSERT_TRUE(store_.Publish("b", Weights(1), "", "").ok());
  EXPECT_THAT(store_.List(), ElementsAre(Field(&AdapterInfo::name, "a"), Field(&AdapterInfo::name, "b")));
  EXPECT_EQ(store_.List()[1].generation, 2);
}

TEST_F(AdapterStoreTest, LoadsAPeftDirectory) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("a"), Weights(3), "").ok());
  const auto info = store_.Load("support", dir.Path("a"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->path, dir.Path("a"));
  EXPECT_EQ(BypassWeights(**store_.Acquire("support")), 18.0f);
  EXPECT_EQ(store_.Load("support", dir.Path("absent")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*store_.Acquire("support"))->ref().generation, 1) << "a failed load changes nothing";
}

TEST_F(AdapterStoreTest, RestoresAGenerationUnderItsOldNumber) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("5"), Weights(3), "").ok());
  const auto info = store_.Restore("support", dir.Path("5"), 5);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->generation, 5);
  EXPECT_EQ(info->path, dir.Path("5"));
  EXPECT_EQ(BypassWeights(**store_.Acquire("support")), 18.0f);
  EXPECT_EQ(store_.Publish("support", Weights(1), "", "")->generation, 6);
}

TEST_F(AdapterStoreTest, RestoreRefusesNumbersThatTheNameHasHadOrCannotHave) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("a"), Weights(3), "").ok());
  ASSERT_TRUE(store_.Restore("support", dir.Path("a"), 5).ok());
  for (const int generation : {5, 4, 0, -1, kMaxGeneration + 1}) {
    const absl::Status status = store_.Restore("support", dir.Path("a"), generation).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << generation;
    EXPECT_THAT(std::string(status.message()), HasSubstr("want from 6 to 1000000000"));
  }
  EXPECT_EQ(store_.Restore("other", dir.Path("a"), 0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(store_.List(), ElementsAre(Field(&AdapterInfo::generation, 5)));
}

TEST_F(AdapterStoreTest, GenerationsRunOutInsteadOfOverflowing) {
  const TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(dir.Path("a"), Weights(3), "").ok());
  ASSERT_TRUE(store_.Restore("support", dir.Path("a"), kMaxGeneration).ok());
  EXPECT_EQ(store_.Publish("support", Weights(1), "", "").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(AdapterStoreTest, RefusesNamesThatCouldNotBeDirectories) {
  for (const std::string& name :
       {std::string(), std::string("../x"), std::string(".hidden"), std::string("-x"), std::string("a/b"),
        std::string("a b"), std::string("a\0b", 3), std::string("\xc3\xa4"), std::string(65, 'a')}) {
    EXPECT_EQ(CheckAdapterName(name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(store_.Publish(name, Weights(1), "", "").status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(store_.Load(name, "/nonexistent").status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  for (const std::string& name : {std::string("a"), std::string("v1.2_final-B"), std::string(64, 'a')}) {
    EXPECT_TRUE(CheckAdapterName(name).ok()) << name;
  }
  EXPECT_THAT(store_.List(), IsEmpty());
}

TEST_F(AdapterStoreTest, AWorkingCopyIsFoundByItsRefAloneAndFollowsItsUpdates) {
  const AdapterRef ref = store_.AddWorkingCopy(Weights(1));
  EXPECT_FALSE(ref.is_base());
  EXPECT_THAT(store_.List(), IsEmpty());
  EXPECT_EQ(BypassWeights(*store_.Find(ref)), 2.0f);
  const AdapterWeights next = Weights(2);
  store_.UpdateWorkingCopy(ref, ViewsOf(next));
  EXPECT_EQ(BypassWeights(*store_.Find(ref)), 8.0f);
  store_.RemoveWorkingCopy(ref);
  EXPECT_EQ(store_.Find(ref), nullptr);
}

TEST_F(AdapterStoreTest, PublishedGenerationsDoNotFollowTheWorkingCopy) {
  const AdapterRef ref = store_.AddWorkingCopy(Weights(1));
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "job").ok());
  const AdapterWeights next = Weights(2);
  store_.UpdateWorkingCopy(ref, ViewsOf(next));
  EXPECT_NE((*store_.Acquire("support"))->ref().id, ref.id);
  EXPECT_EQ(BypassWeights(**store_.Acquire("support")), 2.0f);
}

TEST_F(AdapterStoreTest, FindsNothingForTheBaseModelAndForStrangers) {
  EXPECT_EQ(store_.Find(AdapterRef()), nullptr);
  EXPECT_EQ(store_.Find({99, 1}), nullptr);
}

TEST_F(AdapterStoreTest, FindOfALinearWithoutBypassIsNull) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  const AdapterLease lease = *store_.Acquire("support");
  EXPECT_NE(lease->Find(0, LinearKind::kVProj), nullptr);
  EXPECT_EQ(lease->Find(0, LinearKind::kDownProj), nullptr);
  EXPECT_EQ(lease->Find(1, LinearKind::kQProj), nullptr);
}

TEST_F(AdapterStoreTest, RequestsPublicationsAndUnloadsMayRace) {
  ASSERT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (!stop.load()) {
        const auto lease = store_.Acquire("support");
        if (!lease.ok()) continue;  // unloaded for a moment
        const AdapterRef ref = (*lease)->ref();
        EXPECT_GE(ref.generation, last) << "generations never go back";
        last = ref.generation;
        EXPECT_EQ(store_.Find(ref), lease->get());
        EXPECT_EQ((*lease)->info().generation, ref.generation);
        EXPECT_LE(store_.List().size(), 1u);
      }
    });
  }
  std::thread jobs([&] {
    for (int i = 0; i < 100; ++i) {
      const AdapterRef ref = store_.AddWorkingCopy(Weights(1));
      EXPECT_NE(store_.Find(ref), nullptr);
      store_.RemoveWorkingCopy(ref);
    }
  });
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(store_.Publish("support", Weights(1), "", "").ok());
    if (i % 10 == 9) {
      EXPECT_TRUE(store_.Unload("support").ok());
    }
  }
  jobs.join();
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(store_.Publish("support", Weights(1), "", "")->generation, 102);
}

}  // namespace
}  // namespace tandem
