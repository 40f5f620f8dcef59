// What tandem doctor makes of what a machine says.
#include "cli/doctor.h"

#include <filesystem>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(DoctorTest, NamesTheInstructionSets) {
  const Finding finding = CheckCpu("model name\t: Xeon\nflags\t\t: fpu fma avx2 avx512f avx512bw avx512_bf16\n");
  EXPECT_EQ(finding.health, Health::kOk);
  EXPECT_EQ(finding.found, "Xeon: AVX2, AVX-512, AVX-512-BF16");
}

TEST(DoctorTest, AProcessorWithoutAvx2Fails) {
  EXPECT_EQ(CheckCpu("model name\t: Old\nflags\t\t: fpu sse4_2 avx\n").health, Health::kFail);
  EXPECT_EQ(CheckCpu("").health, Health::kFail);
}

TEST(DoctorTest, MemoryIsMeasuredAgainstTheModel) {
  const std::string meminfo = "MemTotal:       16777216 kB\nMemAvailable:    4194304 kB\n";  // 16 GiB, 4 of them free
  constexpr int64_t kGiB = int64_t{1} << 30;
  EXPECT_EQ(CheckMemory(meminfo, 2 * kGiB).health, Health::kOk);
  EXPECT_EQ(CheckMemory(meminfo, 8 * kGiB).health, Health::kWarn);
  EXPECT_EQ(CheckMemory(meminfo, 32 * kGiB).health, Health::kFail);
}

TEST(DoctorTest, HugePagesThatAreOffAreAWarningWithItsRemedy) {
  EXPECT_EQ(CheckHugePages("always [madvise] never\n").health, Health::kOk);
  const Finding off = CheckHugePages("always madvise [never]\n");
  EXPECT_EQ(off.health, Health::kWarn);
  EXPECT_THAT(off.found, HasSubstr("echo madvise >"));
}

TEST(DoctorTest, AFullDiskIsSaid) {
  EXPECT_EQ(CheckDisk("/s", int64_t{8} << 30).health, Health::kOk);
  EXPECT_EQ(CheckDisk("/s", 1000).health, Health::kWarn);
  EXPECT_EQ(CheckDisk("/s", 0).health, Health::kFail);
}

TEST(DoctorTest, AModelsDirectoryWantsAllItsFiles) {
  const std::string directory = testing::TempDir() + "/doctor_model";
  std::filesystem::create_directories(directory);
  int64_t bytes = 0;
  EXPECT_EQ(CheckModel(directory + "/none", &bytes).health, Health::kFail);
  EXPECT_THAT(CheckModel(directory, &bytes).found, HasSubstr("has no config.json"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/config.json", "{}").ok());
  ASSERT_TRUE(WriteFileAtomically(directory + "/tokenizer.json", "{}").ok());
  EXPECT_THAT(CheckModel(directory, &bytes).found, HasSubstr("has no *.safetensors"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/model.safetensors", std::string(3000, 'x')).ok());
  EXPECT_EQ(CheckModel(directory, &bytes).health, Health::kOk);
  EXPECT_EQ(bytes, 3000);
}

TEST(DoctorTest, ADaemonThatServesNoModelIsNoGoodEnd) {
  v1::DaemonStatus status;
  EXPECT_EQ(CheckServedModel(status, "here:1").health, Health::kWarn);
  EXPECT_THAT(CheckServedModel(status, "here:1").found, HasSubstr("tandem models load PATH"));
  status.mutable_model()->set_name("demo");
  EXPECT_EQ(CheckServedModel(status, "here:1").health, Health::kOk);
  EXPECT_EQ(CheckServedModel(status, "here:1").found, "serves demo at here:1");
}

}  // namespace
}  // namespace tandem
