#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "cli/command.h"

namespace tandem::bench {

absl::Status RunBeside(char** argv) {
  if (argv[1] == nullptr || argv[2] == nullptr || std::string_view(argv[1]) != "bench") return absl::OkStatus();
  const std::string_view name = argv[2];
  if (name != "simulate" && name != "coserve") return absl::OkStatus();
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = (self.parent_path() / (name == "simulate" ? "tandem-sim" : "tandem-bench-coserve")).string();
  execv(path.c_str(), argv + 2);
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot run ", path));
}

}  // namespace tandem::bench
