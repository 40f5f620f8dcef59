// tandem doctor: looks at the machine and says what would keep the daemon from running well.
#include "cli/doctor.h"

#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/json.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

// "" where the file cannot be read: the check then says what it misses. The kernel's files claim a size of 0, so they
// are read to their end.
std::string Text(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Finding CheckStateDisk(const std::string& directory) {
  fs::path path = fs::absolute(directory);
  std::error_code error;
  while (!fs::exists(path, error) && path != path.parent_path()) path = path.parent_path();
  struct statvfs info;
  if (::statvfs(path.c_str(), &info) != 0)
    return {Health::kFail, "disk", absl::StrCat("cannot look at ", path.string())};
  if (::access(path.c_str(), W_OK) != 0) {
    return {Health::kFail, "disk",
            absl::StrCat("cannot write to ", path.string(), ": set state_dir, or change its owner")};
  }
  return CheckDisk(path.string(), static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize));
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// What tandemd, the program beside this one, says of itself.
Finding AskDaemonProgram(const std::string& what, const std::string& arguments) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const std::string daemon = (self.parent_path() / "tandemd").string();
  if (error || ::access(daemon.c_str(), X_OK) != 0) {
    return {Health::kWarn, what, "no tandemd beside this program to ask"};
  }
  FILE* const pipe = ::popen(absl::StrCat(Quoted(daemon), " ", arguments, " 2>&1").c_str(), "r");
  if (pipe == nullptr) return {Health::kWarn, what, "cannot run " + daemon};
  std::string said;
  char buffer[512];
  while (const size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) said.append(buffer, got);
  const bool good = ::pclose(pipe) == 0;
  return {good ? Health::kOk : Health::kFail, what, std::string(absl::StripAsciiWhitespace(said))};
}

Finding CheckDaemon(const ConnectOptions& options) {
  const auto client = Client::Connect(options);
  if (!client.ok()) {
    return {Health::kWarn, "daemon",
            absl::StrCat("none answers at ", options.server, "; start one: tandemd --config FILE")};
  }
  const auto status = (*client)->GetStatus();
  if (status.ok()) return CheckServedModel(*status, options.server);
  return {Health::kFail, "daemon",
          absl::StrCat("something is at ", options.server, " but answers: ", std::string(status.status().message()))};
}

std::string Word(const Terminal& terminal, Health health) {
  switch (health) {
    case Health::kOk:
      return Paint(terminal, Style::kGreen, "OK  ");
    case Health::kWarn:
      return Paint(terminal, Style::kYellow, "WARN");
    case Health::kFail:
      return Paint(terminal, Style::kRed, "FAIL");
  }
  return "";
}

}  // namespace

absl::Status RunDoctor(const Session& session, const DoctorOptions& options) {
  std::vector<Finding> findings = {CheckCpu(Text("/proc/cpuinfo"))};
  int64_t model_bytes = 0;
  if (!options.config.empty()) {
    findings.push_back(AskDaemonProgram("config", "--check-config --config " + Quoted(options.config)));
  }
  if (!options.model.empty()) findings.push_back(CheckModel(options.model, &model_bytes));
  findings.push_back(CheckMemory(Text("/proc/meminfo"), model_bytes));
  findings.push_back(CheckHugePages(Text("/sys/kernel/mm/transparent_hugepage/enabled")));
  findings.push_back(CheckStateDisk(options.state_dir));
  findings.push_back(AskDaemonProgram("gpu", "--device"));
  findings.push_back(CheckDaemon(session.daemon));
  int failures = 0;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::string text;
  for (const Finding& finding : findings) {
    if (finding.health == Health::kFail) ++failures;
    const std::string plain(absl::StripAsciiWhitespace(Word({}, finding.health)));
    json.push_back({{"health", plain}, {"what", finding.what}, {"found", finding.found}});
    absl::StrAppend(&text, Word(session.out, finding.health), "  ", finding.what,
                    std::string(12 - finding.what.size(), ' '), finding.found, "\n");
  }
  RETURN_IF_ERROR(Print(session.json ? json.dump(2) + "\n" : text));
  if (failures == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(failures, failures == 1 ? " check" : " checks", " failed"));
}

}  // namespace tandem
