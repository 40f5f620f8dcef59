#include "base/thread_pool.h"

#include <atomic>
#include <barrier>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 2, 3, 7, 1000}) {
    std::vector<int> runs(count, 0);  // each index is written by one thread: the sanitizer would see two
    pool.For(count, [&](int64_t index, int) { ++runs[index]; });
    EXPECT_EQ(runs, std::vector<int>(count, 1));
  }
}

TEST_P(ThreadPoolTest, EveryThreadHasItsOwnNumber) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(pool.num_threads(), 0);  // not atomic: two threads of one number would race
  for (int loop = 0; loop < 100; ++loop) {
    pool.For(64, [&](int64_t index, int thread) { sums.at(thread) += index; });
  }
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t{0}), 100 * 64 * 63 / 2);
}

TEST_P(ThreadPoolTest, WhatALoopWroteTheCallerAndTheNextLoopSee) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(97, 0);
  for (int loop = 0; loop < 300; ++loop) {
    pool.For(97, [&](int64_t index, int) { ++values[index]; });
    ASSERT_EQ(values, std::vector<int64_t>(97, loop + 1));
  }
}

TEST_P(ThreadPoolTest, LoopsGoOnAfterTheWorkersFellAsleep) {
  ThreadPool pool(GetParam());
  std::atomic<int> runs = 0;
  for (int loop = 0; loop < 20; ++loop) {
    pool.For(8, [&](int64_t, int) { ++runs; });
    // Far longer than the workers spin before they sleep; a slow machine makes it shorter for nobody.
    for (volatile int spin = 0; spin < 2'000'000;) spin = spin + 1;
  }
  EXPECT_EQ(runs, 160);
}

TEST_P(ThreadPoolTest, AllThreadsWorkAtTheSameTime) {
  ThreadPool pool(GetParam());
  std::barrier all(pool.num_threads());
  pool.For(pool.num_threads(), [&](int64_t, int) { all.arrive_and_wait(); });  // hangs where one is missing
}

TEST_P(ThreadPoolTest, ALimitKeepsTheOthersOut) {
  ThreadPool pool(GetParam());
  for (int limit = pool.num_threads(); limit >= 1; --limit) {
    pool.SetLimit(limit);
    std::atomic<int> at_work = 0, most = 0;
    pool.For(1000, [&](int64_t, int) {
      const int now = ++at_work;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) continue;
      --at_work;
    });
    EXPECT_LE(most, limit);
  }
  pool.SetLimit(pool.num_threads());
  std::barrier all(pool.num_threads());
  pool.For(pool.num_threads(), [&](int64_t, int) { all.arrive_and_wait(); });
}

TEST_P(ThreadPoolTest, WithoutAnyThreadALoopWaits) {
  ThreadPool pool(GetParam());
  pool.SetLimit(0);
  std::atomic<bool> resumed = false, ran_before = false;
  std::thread caller([&] { pool.For(3, [&](int64_t, int) { ran_before = ran_before || !resumed; }); });
  resumed = true;
  pool.SetLimit(1);
  caller.join();
  EXPECT_FALSE(ran_before);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 4), testing::PrintToStringParamName());

TEST(ThreadPoolSizeTest, CountsTheCaller) {
  EXPECT_EQ(ThreadPool(1).num_threads(), 1);
  EXPECT_EQ(ThreadPool(3).num_threads(), 3);
}

TEST(ThreadPoolSizeTest, OneThreadRunsInOrderOnTheCaller) {
  ThreadPool pool(1);
  std::vector<int64_t> order;
  const std::thread::id caller = std::this_thread::get_id();
  pool.For(5, [&](int64_t index, int thread) {
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(index);
  });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST(ThreadPoolSizeTest, APoolThatNeverRanGoesAway) {
  ThreadPool pool(4);
}

}  // namespace
}  // namespace tandem
