// The supervisor with shell scripts as workers, and once with a process of this program that it shall not outlive.
#include "daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() {
    EXPECT_EQ(::pipe2(stop_pipe_, O_CLOEXEC), 0);
    EXPECT_EQ(::mkfifo(fifo_.c_str(), 0600), 0);
  }
  ~SupervisorTest() override {
    for (const int fd : stop_pipe_) ::close(fd);
    for (const std::string& path : {runs_, fifo_}) std::remove(path.c_str());
    errno = 0;
    EXPECT_TRUE(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD) << "a child is left";
  }

  // `script` finds the number of workers so far, itself included, in $n.
  SupervisorOptions Options(const std::string& script) {
    const std::string count = "echo >>'" + runs_ + "'; n=$(wc -l <'" + runs_ + "'); ";
    return {.program = "/bin/sh",
            .arguments = {"sh", "-c", count + script},
            .stop_fd = stop_pipe_[0],
            .max_delay = absl::Milliseconds(1),
            .on_restart = [this](const std::string& why) {
              reasons_.push_back(why.substr(why.find(' ', why.find(' ') + 1) + 1));
              on_restart_();
            }};
  }
  int Run(const std::string& script) { return Supervise(Options(script)).value_or(-1); }
  void AskToStop() { EXPECT_EQ(::write(stop_pipe_[1], "x", 1), 1); }
  int Runs() const {
    std::ifstream file(runs_);
    int lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    return lines;
  }

  const std::string runs_ = testing::TempDir() + "/runs", fifo_ = testing::TempDir() + "/fifo";
  // What a worker does that goes on until it is asked to stop.
  const std::string until_stopped_ = "head -c 1 /dev/fd/$TANDEM_WORKER_STOP_FD >/dev/null; ";
  int stop_pipe_[2];
  std::function<void()> on_restart_ = [] {};
  std::vector<std::string> reasons_;
};

TEST_F(SupervisorTest, AWorkersOwnEndIsTheEndAndItsExitCodeTheResult) {
  EXPECT_EQ(Run("exit 3"), 3);
  EXPECT_EQ(Runs(), 1);
  EXPECT_THAT(reasons_, ElementsAre());
}

TEST_F(SupervisorTest, ACrashAndALostDeviceAreFollowedByAnotherWorker) {
  EXPECT_EQ(Run("case $n in 1) kill -SEGV $$;; 2) exit 75;; 3) kill -KILL $$;; *) exit 0;; esac"), 0);
  EXPECT_EQ(Runs(), 4);
  EXPECT_THAT(reasons_, ElementsAre("was killed by signal 11 (Segmentation fault): another one in 1ms",
                                    "lost its device: another one in 1ms",
                                    "was killed by signal 9 (Killed): another one in 1ms"));
}

TEST_F(SupervisorTest, ARequestToStopReachesTheWorkerWhoseEndIsTheResult) {
  AskToStop();
  EXPECT_EQ(Run(until_stopped_ + "exit 5"), 5);
}

TEST_F(SupervisorTest, AWorkerThatCrashesWhileItStopsIsNotFollowed) {
  AskToStop();
  EXPECT_EQ(Run(until_stopped_ + "kill -SEGV $$"), 128 + SIGSEGV);
  EXPECT_EQ(Runs(), 1);
}

TEST_F(SupervisorTest, ARequestToStopBetweenTwoWorkersIsTheEnd) {
  SupervisorOptions options = Options("kill -SEGV $$");
  options.max_delay = absl::Hours(1);
  on_restart_ = [this] { AskToStop(); };
  EXPECT_EQ(*Supervise(options), 0);
  EXPECT_EQ(Runs(), 1);
}

TEST_F(SupervisorTest, AProgramThatCannotRunIsNotTriedAgain) {
  SupervisorOptions options = Options("");
  options.program = "/no/such/program";
  EXPECT_EQ(*Supervise(options), 127);
  EXPECT_THAT(reasons_, ElementsAre());
}

TEST_F(SupervisorTest, TheWorkerDoesNotOutliveItsSupervisor) {
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    (void)Supervise(Options("echo $$ >'" + fifo_ + "'; exec tail -f /dev/null"));
    std::_Exit(0);
  }
  pid_t worker = 0;
  std::ifstream(fifo_) >> worker;  // waits for the worker to write it
  const int ended = static_cast<int>(::syscall(SYS_pidfd_open, worker, 0));
  ASSERT_GE(ended, 0);
  ::kill(supervisor, SIGKILL);
  ::waitpid(supervisor, nullptr, 0);
  pollfd fd{ended, POLLIN, 0};
  while (::poll(&fd, 1, -1) < 0) ASSERT_EQ(errno, EINTR);  // hangs where it lives on
  ::close(ended);
}

TEST(NextDelayTest, DoublesUpToTheLimitAndBeginsAnewBehindAWorkerThatRanLong) {
  const absl::Duration limit = absl::Seconds(5), soon = absl::Milliseconds(10);
  std::vector<absl::Duration> delays = {absl::ZeroDuration()};
  for (int i = 0; i < 4; ++i) delays.push_back(NextDelay(delays.back(), soon, limit));
  delays.push_back(NextDelay(delays.back(), absl::Seconds(5), limit));
  EXPECT_THAT(delays, ElementsAre(absl::ZeroDuration(), absl::Seconds(1), absl::Seconds(2), absl::Seconds(4), limit,
                                  absl::Seconds(1)));
  EXPECT_EQ(NextDelay(absl::ZeroDuration(), soon, absl::Milliseconds(1)), absl::Milliseconds(1));
}

}  // namespace
}  // namespace tandem
