#include "engine/published_adapters.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tandem {
namespace {

class PublishedAdaptersTest : public testing::Test {
 protected:
  PublishedAdaptersTest() : root(std::filesystem::path(testing::TempDir()) / "published_adapters_test") {
    std::filesystem::remove_all(root);
  }
  ~PublishedAdaptersTest() override { std::filesystem::remove_all(root); }
  std::filesystem::path root;
};

TEST_F(PublishedAdaptersTest, FindsTheNewestGenerationOfEveryNameByNumber) {
  for (const char* path : {"b/1", "b/9", "b/10", "a/2"}) std::filesystem::create_directories(root / path);
  const auto found = FindPublishedAdapters(root.string());
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name, "a");
  EXPECT_EQ(found[0].generation, 2);
  EXPECT_EQ(found[1].name, "b");
  EXPECT_EQ(found[1].generation, 10);
  EXPECT_EQ(found[1].path, (root / "b" / "10").string());
}

TEST_F(PublishedAdaptersTest, PassesOverWhatIsNoGeneration) {
  std::filesystem::create_directories(root / "a" / "3.tmp");
  std::filesystem::create_directories(root / "a" / "-1");
  std::filesystem::create_directories(root / "empty");
  std::ofstream(root / "file") << "x";
  std::ofstream(root / "a" / "7") << "x";
  EXPECT_TRUE(FindPublishedAdapters(root.string()).empty());
}

TEST_F(PublishedAdaptersTest, AMissingDirectoryHasNone) {
  EXPECT_TRUE(FindPublishedAdapters(root.string()).empty());
}

}  // namespace
}  // namespace tandem
