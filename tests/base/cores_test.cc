#include "base/cores.h"

#include <sched.h>

#include <thread>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(CoresTest, FollowTheAffinityMask) {
  int cores = 0;
  std::thread bound([&] {
    cpu_set_t mask, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) CPU_SET(cpu, &one);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    cores = UsableCores();
  });
  bound.join();
  EXPECT_EQ(cores, 1);
}

TEST(CoresTest, QuotaIsRoundedUpToWholeCores) {
  EXPECT_EQ(CoresOfQuota("200000 100000\n"), 2);
  EXPECT_EQ(CoresOfQuota("150000 100000\n"), 2);
  EXPECT_EQ(CoresOfQuota("1000 100000"), 1);
}

TEST(CoresTest, NoQuotaLimitsNothing) {
  for (const char* text : {"max 100000\n", "", "0 100000", "100000 0", "100000", "a b"}) {
    EXPECT_EQ(CoresOfQuota(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace tandem
