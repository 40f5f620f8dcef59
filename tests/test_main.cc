// main of every test binary: a temporary directory of its own for each process, because ctest runs several at once.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <string>

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  std::string directory = (std::filesystem::temp_directory_path() / "tandem-test-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) return 1;
  setenv("TEST_TMPDIR", directory.c_str(), 1);  // what testing::TempDir() returns
  const int failed = RUN_ALL_TESTS();
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  return failed;
}
