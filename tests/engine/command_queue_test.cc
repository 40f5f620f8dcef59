#include "engine/command_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tandem {
namespace {

TEST(CommandQueueTest, RunsCommandsInOrderOnTheCallersThread) {
  CommandQueue queue;
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.Post([&order, i] { order.push_back(i); }));
  EXPECT_TRUE(order.empty());
  queue.RunAll();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(CommandQueueTest, ACommandMayPostAnother) {
  CommandQueue queue;
  int ran = 0;
  queue.Post([&] { queue.Post([&] { ++ran; }); });
  queue.RunAll();
  EXPECT_EQ(ran, 0);
  queue.RunAll();
  EXPECT_EQ(ran, 1);
}

TEST(CommandQueueTest, WaitEndsWithAPostFromAnotherThread) {
  CommandQueue queue;
  std::thread poster([&] { queue.Post([] {}); });
  queue.Wait(absl::InfiniteDuration());
  poster.join();
}

TEST(CommandQueueTest, WaitEndsWithClose) {
  CommandQueue queue;
  std::thread closer([&] { queue.Close(); });
  queue.Wait(absl::InfiniteDuration());
  closer.join();
  EXPECT_TRUE(queue.closed());
}

TEST(CommandQueueTest, PostAfterCloseSaysThatItWillNotRun) {
  CommandQueue queue;
  queue.Close();
  EXPECT_FALSE(queue.Post([] { FAIL(); }));
  queue.RunAll();
}

}  // namespace
}  // namespace tandem
