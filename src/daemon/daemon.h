// The life of tandemd: command line, configuration, start, serve, drain. main.cc gives it the process's own hooks,
// tests give it fakes.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/config.h"
#include "serve/core/model_host.h"

namespace tandem {

// Model, tokenizer and engine as the configuration says. `on_device_lost` is called once, on any thread, where nothing
// of it works any more. In wiring.cc.
absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(
    const Config& config, const ModelSource& source, const LoadProgress& progress,
    const std::function<void()>& on_device_lost = [] {});
// Whether it will run on something else than the CPU.
bool UsesDevice(const Config& config);

struct DaemonHooks {
  std::function<decltype(LoadModel)> load_model;
  int stop_fd = -1;  // each read from it is a request to stop: a signalfd, or a test's pipe
  std::function<std::string()> describe_device = [] { return std::string(); };  // for --device
  std::function<void(int port)> on_ready = [](int) {};
  std::function<void()> stop_at_once;  // the second request to stop: ends the process without waiting for the drain
  // Where set, and the configuration asks for a supervisor: does its work, and its result is RunTandemd's.
  std::function<absl::StatusOr<int>(const Config& config)> supervise;
  std::function<decltype(UsesDevice)> uses_device;  // set with `supervise`
};

// Runs until asked to stop, drains, and returns the exit code: 0, 1 after a one-line error on `err`, 2 for a wrong
// command line, kRestartExitCode (supervisor.h) after a lost device.
int RunTandemd(int argc, const char* const* argv, const DaemonHooks& hooks, std::ostream& out, std::ostream& err);

}  // namespace tandem
