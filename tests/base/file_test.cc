#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string name = (std::filesystem::path(testing::TempDir()) / "file_test.XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string Write(const std::string& name, std::string_view contents) const {
    std::ofstream(Path(name), std::ios::binary) << contents;
    return Path(name);
  }
  std::vector<std::string> Listing() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string directory_;
};

// --- reading
// -----------------------------------------------------------------------------------------------------------

TEST_F(FileTest, ReadsEveryByte) {
  std::string contents = "a\0b\r\n\xff";
  contents.append(1 << 20, 'x');
  EXPECT_EQ(*ReadFile(Write("f", contents)), contents);
}

TEST_F(FileTest, ReadsAnEmptyFile) {
  EXPECT_EQ(*ReadFile(Write("f", "")), "");
}

TEST_F(FileTest, AMissingFileIsNotFoundAndNamed) {
  const absl::Status status = ReadFile(Path("absent")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), StartsWith(Path("absent") + ": cannot open"));
}

TEST_F(FileTest, ADirectoryIsRefused) {
  EXPECT_EQ(ReadFile(directory_).status(), absl::InvalidArgumentError(directory_ + ": not a regular file"));
}

TEST_F(FileTest, AnUnreadableFileIsPermissionDenied) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  ::chmod(Write("f", "secret").c_str(), 0);
  EXPECT_EQ(ReadFile(Path("f")).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(FileTest, AFileAboveTheLimitIsRefusedWithBothSizes) {
  const std::string path = Write("f", "12345");
  EXPECT_EQ(*ReadFile(path, 5), "12345");
  EXPECT_EQ(ReadFile(path, 4).status(), absl::ResourceExhaustedError(path + ": 5 bytes, want at most 4"));
}

// --- writing
// -----------------------------------------------------------------------------------------------------------

TEST_F(FileTest, WritesAndReplaces) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "a long first version").ok());
  EXPECT_EQ(*ReadFile(Path("f")), "a long first version");
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "second").ok());
  EXPECT_EQ(*ReadFile(Path("f")), "second");
}

TEST_F(FileTest, LeavesOnlyTheFileBehind) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "x").ok());
  EXPECT_THAT(Listing(), ElementsAre("f"));
}

TEST_F(FileTest, AReaderOfTheOldFileKeepsTheOldFile) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old").ok());
  const MappedFile old = *MappedFile::Open(Path("f"));
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "new").ok());
  EXPECT_EQ(old.bytes(), "old");
}

TEST_F(FileTest, AFailedWriteNamesThePathAndLeavesNothingBehind) {
  std::filesystem::create_directory(Path("taken"));
  Write("taken/inside", "");
  const absl::Status status = WriteFileAtomically(Path("taken"), "x");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("taken: cannot rename into place"));
  EXPECT_THAT(Listing(), ElementsAre("taken"));
}

TEST_F(FileTest, WritingIntoAMissingDirectoryIsNotFound) {
  EXPECT_EQ(WriteFileAtomically(Path("absent/f"), "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, WritesRelativeToTheWorkingDirectory) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(directory_);
  const absl::Status status = WriteFileAtomically("relative", "x");
  std::filesystem::current_path(before);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(Path("relative")), "x");
}

// --- mapping
// -----------------------------------------------------------------------------------------------------------

TEST_F(FileTest, MapsEveryByte) {
  const std::string contents(10'000, 'x');
  const MappedFile file = *MappedFile::Open(Write("f", contents));
  EXPECT_EQ(file.bytes(), contents);
  EXPECT_EQ(file.path(), Path("f"));
}

TEST_F(FileTest, MapsAnEmptyFile) {
  EXPECT_EQ(MappedFile::Open(Write("f", ""))->bytes(), "");
}

TEST_F(FileTest, MappingAMissingFileOrADirectoryFails) {
  EXPECT_EQ(MappedFile::Open(Path("absent")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(directory_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileTest, AMappingMovesAndOutlivesTheName) {
  MappedFile first = *MappedFile::Open(Write("first", "1"));
  MappedFile second = *MappedFile::Open(Write("second", "22"));
  first = std::move(second);
  std::filesystem::remove(Path("second"));
  const MappedFile third = std::move(first);
  EXPECT_EQ(third.bytes(), "22");
  EXPECT_EQ(third.path(), Path("second"));
}

}  // namespace
}  // namespace tandem
