// How the command line is put together: each group of commands defines its own options and says what to run.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "cli/commands.h"

namespace tandem {

// What to run once the command line is read.
using Command = std::function<absl::Status(const Session&)>;

// An option that sets a protobuf field only where it is given: the daemon knows the defaults.
template <typename T>
CLI::Option* AddField(CLI::App* app, const std::string& flags, std::function<void(T)> set, const std::string& help) {
  return app->add_option_function<T>(
      flags, [set = std::move(set)](const T& value) { set(value); }, help);
}

// `options` must outlive the command line. define_tune.cc
void DefineTune(CLI::App& app, TuneOptions& options, Command& command);

namespace bench {
void DefineBench(CLI::App& app, Command& command);  // bench/define.cc

// Where argv says `tandem bench simulate ...` or `tandem bench coserve ...`: becomes the program beside this one that
// does that, and takes the rest of the command line. This client sees the daemon's protocol only, and not the scheduler
// that simulate runs. Returns OK for all other command lines.
absl::Status RunBeside(char** argv);  // bench/beside.cc
}  // namespace bench

}  // namespace tandem
