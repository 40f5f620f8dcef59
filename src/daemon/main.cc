// tandemd: SIGTERM and SIGINT drain, a second one stops at once (what must survive is on disk at any time).
#include <pthread.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "backend/factory.h"
#include "daemon/daemon.h"
#include "serve/grpc/server.h"

int main(int argc, char** argv) {
  // Blocked before any thread starts, so that every thread inherits it and the signals arrive at the descriptor only.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const int stop_fd = signalfd(-1, &stop_signals, SFD_CLOEXEC);
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
  return tandem::RunTandemd(argc, argv, hooks, std::cout, std::cerr);
}
