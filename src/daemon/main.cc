// tandemd: SIGTERM and SIGINT drain, a second one stops at once (what must survive is on disk at any time). Where a
// supervisor is wanted this process is it, and runs its own program again as the worker.
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "backend/factory.h"
#include "daemon/daemon.h"
#include "daemon/supervisor.h"
#include "serve/grpc/server.h"

namespace {

// A descriptor at which SIGTERM and SIGINT arrive, and nowhere else. Before any thread starts: all inherit that.
int StopSignals() {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  return signalfd(-1, &stop_signals, SFD_CLOEXEC);
}

// The supervisor's pipe, where there is one; -1 where this process was started by anybody else.
int SupervisorsPipe() {
  const char* const number = std::getenv(tandem::kWorkerStopFd);
  if (number == nullptr) return -1;
  std::signal(SIGTERM, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  prctl(PR_SET_NAME, "tandemd-worker");
  return std::atoi(number);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int pipe = SupervisorsPipe();
  const int stop_fd = pipe >= 0 ? pipe : StopSignals();
  if (stop_fd < 0) {
    std::cerr << "tandemd: cannot watch for signals" << std::endl;
    return 1;
  }
  tandem::RedirectLibraryLogs();
  tandem::DaemonHooks hooks;
  hooks.load_model = tandem::LoadModel;
  hooks.describe_device = tandem::DescribeDevice;
  hooks.stop_fd = stop_fd;
  hooks.stop_at_once = [] { std::_Exit(1); };
  if (pipe < 0) {
    hooks.uses_device = tandem::UsesDevice;
    hooks.supervise = [&](const tandem::Config& config) {
      return tandem::Supervise({.program = "/proc/self/exe",
                                .arguments = {argv, argv + argc},
                                .stop_fd = stop_fd,
                                .max_delay = config.supervisor.max_delay,
                                .on_restart = nullptr});
    };
  }
  return tandem::RunTandemd(argc, argv, hooks, std::cout, std::cerr);
}
