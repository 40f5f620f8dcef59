#include "cli/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace tandem {
namespace {

sigset_t InterruptSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

// True for an interrupt, false where `stop_fd` was first.
bool WaitForInterrupt(int stop_fd) {
  const sigset_t set = InterruptSet();
  const int signals = ::signalfd(-1, &set, SFD_CLOEXEC);
  CHECK_GE(signals, 0);
  std::array<pollfd, 2> fds{{{signals, POLLIN, 0}, {stop_fd, POLLIN, 0}}};
  while (::poll(fds.data(), fds.size(), -1) < 0) CHECK(errno == EINTR);
  const bool interrupted = fds[0].revents != 0;
  signalfd_siginfo info;
  if (interrupted) {
    CHECK(::read(signals, &info, sizeof info) == sizeof info);
  }
  ::close(signals);
  return interrupted;
}

}  // namespace

void HoldInterrupts() {
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

InterruptHandler::InterruptHandler(std::function<void()> on_interrupt) : stop_fd_(::eventfd(0, EFD_CLOEXEC)) {
  CHECK_GE(stop_fd_, 0);
  thread_ = std::thread([this, on_interrupt = std::move(on_interrupt)] {
    if (!WaitForInterrupt(stop_fd_)) return;
    // The next one finds this thread willing to be ended by it.
    const sigset_t set = InterruptSet();
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    on_interrupt();
    uint64_t stopped;
    while (::read(stop_fd_, &stopped, sizeof stopped) < 0) CHECK(errno == EINTR);
  });
}

InterruptHandler::~InterruptHandler() {
  const uint64_t one = 1;
  CHECK(::write(stop_fd_, &one, sizeof one) == sizeof one);
  thread_.join();
  ::close(stop_fd_);
}

}  // namespace tandem
