#include "daemon/stop.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "absl/time/clock.h"
#include "base/check.h"

namespace tandem {
namespace {

int Milliseconds(absl::Duration left) {
  if (left == absl::InfiniteDuration()) return -1;
  const int64_t rounded_up = absl::ToInt64Milliseconds(left + absl::Nanoseconds(999'999));
  return static_cast<int>(std::clamp<int64_t>(rounded_up, 0, std::numeric_limits<int>::max()));
}

}  // namespace

WaitEnd WaitForStop(int stop_fd, int other_fd, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  std::array<pollfd, 2> fds{{{stop_fd, POLLIN, 0}, {other_fd, POLLIN, 0}}};
  int ready = 0;
  do {
    ready = ::poll(fds.data(), fds.size(), Milliseconds(deadline - absl::Now()));
    CHECK(ready >= 0 || errno == EINTR);
  } while (ready < 0);
  if (ready == 0) return WaitEnd::kTimeout;
  if (fds[0].revents == 0) return WaitEnd::kOther;
  std::array<char, 128> request;  // one signalfd_siginfo
  while (::read(stop_fd, request.data(), request.size()) < 0) CHECK(errno == EINTR);
  return WaitEnd::kStop;
}

}  // namespace tandem
