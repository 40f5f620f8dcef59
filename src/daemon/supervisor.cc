#include "daemon/supervisor.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status.h"
#include "daemon/stop.h"

namespace tandem {
namespace {

constexpr absl::Duration kFirstDelay = absl::Seconds(1);
constexpr int kCannotRun = 127;  // as shells say it

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// This process's environment, and the pipe's number.
std::vector<std::string> WorkerEnvironment(int stop_fd) {
  const std::string name = absl::StrCat(kWorkerStopFd, "=");
  std::vector<std::string> environment = {absl::StrCat(name, stop_fd)};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with(name)) environment.emplace_back(*entry);
  }
  return environment;
}

// The rest of the new process. Only what is safe behind fork.
[[noreturn]] void BecomeWorker(const char* program, char* const* arguments, char* const* environment, int stop_fd,
                               pid_t supervisor) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() == supervisor && ::fcntl(stop_fd, F_SETFD, 0) == 0) ::execve(program, arguments, environment);
  ::_exit(kCannotRun);
}

// A child process. It is gone when this is.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      Reap();
    }
    for (const int fd : {stop_pipe_[0], stop_pipe_[1], ended_fd_}) {
      if (fd >= 0) ::close(fd);
    }
  }

  // Once.
  absl::Status Start(const SupervisorOptions& options) {
    if (::pipe2(stop_pipe_, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "a pipe to the worker");
    std::vector<std::string> arguments = options.arguments, environment = WorkerEnvironment(stop_pipe_[0]);
    const std::vector<char*> argv = Pointers(arguments), envp = Pointers(environment);
    const pid_t supervisor = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) return absl::ErrnoToStatus(errno, "starting the worker");
    if (pid_ == 0) BecomeWorker(options.program.c_str(), argv.data(), envp.data(), stop_pipe_[0], supervisor);
    ended_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    return ended_fd_ >= 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, "watching the worker");
  }

  pid_t pid() const { return pid_; }
  int ended_fd() const { return ended_fd_; }  // readable once it has ended
  void AskToStop() const { CHECK(::write(stop_pipe_[1], "x", 1) == 1); }
  // Waits for its end; waitpid's status. Once.
  int Reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0) CHECK(errno == EINTR) << std::strerror(errno);
    pid_ = 0;
    return status;
  }

 private:
  int stop_pipe_[2] = {-1, -1};  // both ends stay open here: writing to a worker that is gone does no harm
  pid_t pid_ = 0;
  int ended_fd_ = -1;
};

// Passes requests to stop on until the worker has ended; whether there was one.
bool WaitForEnd(const Worker& worker, int stop_fd) {
  bool asked = false;
  while (WaitForStop(stop_fd, worker.ended_fd()) == WaitEnd::kStop) {
    worker.AskToStop();
    asked = true;
  }
  return asked;
}

// Of a worker that another one should follow; "" of others.
std::string ReasonToRestart(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal), ")");
  }
  return WEXITSTATUS(status) == kRestartExitCode ? "lost its device" : "";
}

}  // namespace

absl::Duration NextDelay(absl::Duration last, absl::Duration ran, absl::Duration max_delay) {
  const bool steady = last == absl::ZeroDuration() || ran >= max_delay;
  return std::min(steady ? kFirstDelay : 2 * last, max_delay);
}

absl::StatusOr<int> Supervise(const SupervisorOptions& options) {
  absl::Duration delay = absl::ZeroDuration();
  while (true) {
    const absl::Time begin = absl::Now();
    Worker worker;
    RETURN_IF_ERROR(worker.Start(options));
    const std::string name = absl::StrCat("worker ", worker.pid());
    const bool asked = WaitForEnd(worker, options.stop_fd);
    const int status = worker.Reap();
    const std::string reason = ReasonToRestart(status);
    if (asked || reason.empty()) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    delay = NextDelay(delay, absl::Now() - begin, options.max_delay);
    const std::string why = absl::StrCat(name, " ", reason, ": another one in ", absl::FormatDuration(delay));
    if (options.on_restart) {
      options.on_restart(why);
    } else {
      LOG_ERROR("{}", why);
    }
    if (WaitForStop(options.stop_fd, -1, delay) == WaitEnd::kStop) return 0;
  }
}

}  // namespace tandem
