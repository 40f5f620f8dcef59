#include "daemon/daemon.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "daemon/stop.h"
#include "daemon/supervisor.h"
#include "serve/grpc/server.h"

namespace tandem {
namespace {

// After the drain, streams only have their last messages to send.
constexpr absl::Duration kFlushGrace = absl::Seconds(2);
constexpr size_t kMaxPemBytes = size_t{1} << 20;

struct CommandLine {
  std::string config;
  std::vector<std::string> overrides;
  bool check_config = false;
};

// An exit code where the command line ends the matter (--help, --version, an error).
std::optional<int> ParseCommandLine(int argc, const char* const* argv, const DaemonHooks& hooks, CommandLine& line,
                                    std::ostream& out, std::ostream& err) {
  CLI::App app{"tandemd serves a language model and fine-tunes it, in the same iterations.", "tandemd"};
  app.set_version_flag("--version", "tandemd " TANDEM_VERSION);
  app.add_option("--config", line.config, "The configuration (YAML); configs/reference.yaml documents every key")
      ->required()
      ->type_name("FILE");
  app.add_option("--set", line.overrides, "Overrides one key, e.g. --set server.port=8080; may be given often")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--check-config", line.check_config, "Check the configuration and exit");
  // As --version does: what else is on the line does not matter.
  const auto show_device = [&] { throw CLI::CallForVersion(hooks.describe_device(), 0); };
  app.add_flag_callback("--device", show_device, "Say what it would compute on, and exit")->trigger_on_parse();
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? 0 : 2;
  }
}

// Owns a file descriptor that becomes readable once.
class DoneEvent {
 public:
  DoneEvent() : fd_(::eventfd(0, EFD_CLOEXEC)) { CHECK_GE(fd_, 0); }
  DoneEvent(const DoneEvent&) = delete;
  DoneEvent& operator=(const DoneEvent&) = delete;
  ~DoneEvent() { ::close(fd_); }
  void Set() const {
    const uint64_t one = 1;
    CHECK(::write(fd_, &one, sizeof one) == sizeof one);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// NOT_SERVING first, then the running requests' grace, then the end. A model that is being loaded is not waited for.
void Drain(GrpcServer& server, ModelHost& models, absl::Duration grace) {
  server.BeginDrain();
  models.Drain(grace);
  server.Shutdown(kFlushGrace);
}

// Loads the configuration's model, if it names one; why it could not. OK and `*stopped` where a request to stop came
// first.
absl::Status LoadFirstModel(const Config& config, const DaemonHooks& hooks, ModelHost& models, bool* stopped) {
  *stopped = false;
  if (config.model.path.empty()) return absl::OkStatus();
  struct Outcome {
    DoneEvent done;
    absl::Status status;
  };
  // Shared: where a stop comes first, the load reports when nobody waits for it any more.
  const auto outcome = std::make_shared<Outcome>();
  models.Load({config.model.path, ModelName(config.model.path)}, [outcome](const absl::StatusOr<ModelInfo>& model) {
    outcome->status = model.status();
    outcome->done.Set();
  });
  *stopped = WaitForStop(hooks.stop_fd, outcome->done.fd()) == WaitEnd::kStop;
  return *stopped ? absl::OkStatus() : outcome->status;
}

absl::Status CheckModelDirectory(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("model.path ", path));
  if (!S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat("model.path ", path, ": not a directory"));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadPem(const std::string& key, const std::string& path) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::string> text = ReadFile(path, kMaxPemBytes);
  if (!text.ok()) return Annotate(text.status(), key);
  return text;
}

absl::StatusOr<GrpcServerOptions> ServerOptions(const Config& config) {
  GrpcServerOptions options{config.server.address, config.server.port, config.server.max_message_bytes,
                            config.server.threads};
  ASSIGN_OR_RETURN(options.tls_certificate, ReadPem("tls.certificate", config.tls.certificate));
  ASSIGN_OR_RETURN(options.tls_key, ReadPem("tls.key", config.tls.key));
  ASSIGN_OR_RETURN(options.tls_client_ca, ReadPem("tls.client_ca", config.tls.client_ca));
  options.api_keys = config.auth.api_keys;
  if (!config.auth.api_keys_file.empty()) {
    absl::StatusOr<std::vector<ApiKey>> keys = ReadApiKeys(config.auth.api_keys_file);
    if (!keys.ok()) return Annotate(keys.status(), "auth.api_keys_file");
    options.api_keys.insert(options.api_keys.end(), keys->begin(), keys->end());
    RETURN_IF_ERROR(CheckApiKeys("auth.api_keys with auth.api_keys_file", options.api_keys));
  }
  return options;
}

// What an operator should know about who may call.
void LogAccess(const Config& config, const GrpcServerOptions& options) {
  if (options.api_keys.empty() && options.tls_client_ca.empty()) {
    if (config.server.allow_unauthenticated) {
      LOG_WARN("whoever reaches {} may use this daemon: it asks nobody who they are", config.server.address);
    }
    return;
  }
  LOG_INFO("callers must show {}{}{}", options.api_keys.empty() ? "" : "an API key",
           !options.api_keys.empty() && !options.tls_client_ca.empty() ? " and " : "",
           options.tls_client_ca.empty() ? "" : "a client certificate");
  if (options.tls_certificate.empty()) LOG_WARN("API keys travel in the clear: set tls.certificate and tls.key");
}

absl::StatusOr<int> Serve(const Config& config, const DaemonHooks& hooks, std::ostream& err) {
  if (!config.model.path.empty()) RETURN_IF_ERROR(CheckModelDirectory(config.model.path));
  ASSIGN_OR_RETURN(const GrpcServerOptions options, ServerOptions(config));
  const auto lost = std::make_shared<DoneEvent>();  // shared: with every engine, which may be the last to go
  const auto load = [&](const ModelSource& source, const LoadProgress& progress) {
    return hooks.load_model(config, source, progress, [lost] { lost->Set(); });
  };
  ModelHost models(load, config.shutdown.grace);
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server, GrpcServer::Start(options, &models));
  LogAccess(config, options);
  bool stopped = false, device_lost = false;
  RETURN_IF_ERROR(LoadFirstModel(config, hooks, models, &stopped));
  const DoneEvent drained;
  if (!stopped) {
    LOG_INFO("ready on {}:{}{}", config.server.address, server->port(),
             config.model.path.empty() ? ", without a model: tandem models load PATH" : "");
    hooks.on_ready(server->port());
    device_lost = WaitForStop(hooks.stop_fd, lost->fd()) == WaitEnd::kOther;
  }
  LOG_INFO("stopping: running requests have {} to finish; a second signal stops at once",
           absl::FormatDuration(config.shutdown.grace));
  std::thread drain([&] {
    Drain(*server, models, config.shutdown.grace);
    drained.Set();
  });
  if (WaitForStop(hooks.stop_fd, drained.fd()) == WaitEnd::kStop) {
    LOG_WARN("second signal: stopping at once");
    hooks.stop_at_once();
  }
  drain.join();
  LOG_INFO("stopped");
  const absl::Status failure = models.failure();
  if (!failure.ok()) err << "tandemd: " << failure.message() << std::endl;
  return device_lost || !failure.ok() ? kRestartExitCode : 0;
}

bool WantsSupervisor(const Config& config, const DaemonHooks& hooks) {
  if (!hooks.supervise || config.supervisor.restart == "never") return false;
  return config.supervisor.restart == "always" || hooks.uses_device(config);
}

absl::StatusOr<int> LoadAndServe(const CommandLine& line, const DaemonHooks& hooks, std::ostream& out,
                                 std::ostream& err) {
  ASSIGN_OR_RETURN(const Config config, LoadConfig(line.config, line.overrides));
  RETURN_IF_ERROR(InitLogging(config.log.level));
  if (line.check_config) {
    out << line.config << ": good" << std::endl;
    return 0;
  }
  if (WantsSupervisor(config, hooks)) return hooks.supervise(config);
  return Serve(config, hooks, err);
}

}  // namespace

int RunTandemd(int argc, const char* const* argv, const DaemonHooks& hooks, std::ostream& out, std::ostream& err) {
  CommandLine line;
  if (const std::optional<int> code = ParseCommandLine(argc, argv, hooks, line, out, err)) return *code;
  const absl::StatusOr<int> code = LoadAndServe(line, hooks, out, err);
  if (code.ok()) return *code;
  err << "tandemd: " << code.status().message() << std::endl;
  return 1;
}

}  // namespace tandem
