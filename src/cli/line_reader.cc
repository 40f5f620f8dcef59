#include "cli/line_reader.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/check.h"

namespace tandem {
namespace {

int OpenInterrupts() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return ::signalfd(-1, &set, SFD_CLOEXEC);
}

}  // namespace

LineReader::LineReader() : signals_(OpenInterrupts()) {
  CHECK_GE(signals_, 0);
}

LineReader::~LineReader() {
  ::close(signals_);
}

bool LineReader::TakeLine(std::string& line) {
  const size_t end = pending_.find('\n');
  if (end != std::string::npos) {
    line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    return true;
  }
  if (!ended_ || pending_.empty()) return false;
  line = std::exchange(pending_, "");
  return true;
}

LineReader::Event LineReader::Next(std::string& line) {
  while (true) {
    if (TakeLine(line)) return Event::kLine;
    if (ended_) return Event::kEnd;
    std::array<pollfd, 2> fds{{{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}}};
    while (::poll(fds.data(), fds.size(), -1) < 0) CHECK(errno == EINTR);
    if (fds[1].revents != 0) {
      signalfd_siginfo info;
      CHECK(::read(signals_, &info, sizeof info) == sizeof info);
      return Event::kInterrupt;
    }
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got > 0) {
      pending_.append(buffer.data(), static_cast<size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      ended_ = true;
    }
  }
}

}  // namespace tandem
