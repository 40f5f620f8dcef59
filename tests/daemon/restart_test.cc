// Whole processes that fail and are followed by another: tandemd whose worker is killed, and a daemon on the emulated
// device that loses it.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "base/check.h"
#include "base/file.h"
#include "daemon/supervisor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

const std::string kModel = std::string(TANDEM_SOURCE_DIR) + "/models/demo";

std::string WriteConfig() {
  const std::string path = testing::TempDir() + "/tandem.yaml";
  EXPECT_TRUE(WriteFileAtomically(path, "{model: {path: " + kModel + "}, server: {port: 0}, engine: {threads: 1}, " +
                                            "state_dir: " + testing::TempDir() + "/state, backend: cpu, " +
                                            "supervisor: {restart: always, max_delay: 1ms}}")
                  .ok());
  return path;
}

// tandemd and its log.
class Daemon {
 public:
  explicit Daemon(const std::string& config) {
    int log[2];
    CHECK(::pipe2(log, O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(log[1], STDERR_FILENO);
      ::execl(TANDEMD, "tandemd", "--config", config.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(log[1]);
    log_ = ::fdopen(log[0], "r");
  }
  ~Daemon() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    std::fclose(log_);
  }
  pid_t pid() const { return pid_; }
  // The next line that has `text` in it; "" where the log ends before.
  std::string WaitForLine(const std::string& text) {
    char line[4096];
    while (std::fgets(line, sizeof line, log_) != nullptr) {
      if (std::string(line).find(text) != std::string::npos) return line;
    }
    return "";
  }
  pid_t Worker() const {
    const std::string pid = std::to_string(pid_);
    pid_t worker = 0;
    std::ifstream("/proc/" + pid + "/task/" + pid + "/children") >> worker;
    return worker;
  }
  int Wait() {
    int status = 0;
    CHECK(::waitpid(pid_, &status, 0) == pid_);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = 0;
  FILE* log_ = nullptr;
};

TEST(RestartTest, TandemdServesAgainWhenItsWorkerIsKilledAndDrainsOnASignal) {
  Daemon daemon(WriteConfig());
  ASSERT_NE(daemon.WaitForLine("ready on"), "");
  const pid_t first = daemon.Worker();
  ASSERT_GT(first, 0);
  ::kill(first, SIGKILL);
  EXPECT_THAT(daemon.WaitForLine("worker"), EndsWith("was killed by signal 9 (Killed): another one in 1ms\n"));
  ASSERT_NE(daemon.WaitForLine("ready on"), "");
  const pid_t second = daemon.Worker();
  EXPECT_NE(second, first);
  ::kill(second, SIGTERM);  // nobody's business: requests to stop go to the supervisor
  ::kill(daemon.pid(), SIGTERM);
  EXPECT_THAT(daemon.WaitForLine("stop"), HasSubstr("stopping: running requests have"));
  EXPECT_THAT(daemon.WaitForLine("stop"), EndsWith("stopped\n"));
  EXPECT_EQ(daemon.Wait(), 0);
}

#ifdef LOST_DEVICE_WORKER
TEST(RestartTest, ALostDeviceEndsTheWorkerAndTheNextOneServes) {
  int stop_pipe[2];
  ASSERT_EQ(::pipe2(stop_pipe, O_CLOEXEC), 0);
  const std::string statuses = testing::TempDir() + "/statuses";
  std::vector<std::string> reasons;
  const auto code = Supervise({.program = LOST_DEVICE_WORKER,
                               .arguments = {"worker", WriteConfig(), statuses},
                               .stop_fd = stop_pipe[0],
                               .max_delay = absl::Milliseconds(1),
                               .on_restart = [&](const std::string& why) { reasons.push_back(why); }});
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0);
  EXPECT_THAT(reasons, ElementsAre(EndsWith(" lost its device: another one in 1ms")));
  EXPECT_EQ(*ReadFile(statuses), "13\n0\n");  // INTERNAL, OK
  for (const int fd : stop_pipe) ::close(fd);
}
#endif

}  // namespace
}  // namespace tandem
