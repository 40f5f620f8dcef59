// With the real CUDA libraries where they are linked: on a machine without a device they have to say so, and no more.
#include "backend/factory.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

bool HasDevice() {
  return FindsDevice(BackendKind::kAuto);
}

TEST(Factory, TheCpuIsThereWhenAskedFor) {
  const auto backend = CreateBackend({.kind = BackendKind::kCpu, .threads = 1});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_THAT((*backend)->name(), StartsWith("cpu ("));
}

TEST(Factory, TheCpuIsNoDevice) {
  EXPECT_FALSE(FindsDevice(BackendKind::kCpu));
}

TEST(Factory, WithoutADeviceAutoServesOnTheCpu) {
  if (HasDevice()) GTEST_SKIP() << DescribeDevice();
  const auto backend = CreateBackend({.threads = 1});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_THAT((*backend)->name(), StartsWith("cpu ("));
  EXPECT_THAT(DescribeDevice(), HasSubstr("): serving on the CPU"));
}

TEST(Factory, WithoutADeviceCudaIsRefusedWithTheReason) {
  if (HasDevice()) GTEST_SKIP() << DescribeDevice();
  const auto backend = CreateBackend({.kind = BackendKind::kCuda});
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(backend.status().message()), HasSubstr("no device ("));
}

TEST(Factory, WithADeviceAutoServesOnIt) {
  if (!HasDevice()) GTEST_SKIP() << DescribeDevice();
  const auto backend = CreateBackend({});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_THAT((*backend)->name(), StartsWith("cuda ("));
}

}  // namespace
}  // namespace tandem
