#include "serve/grpc/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "base/status.h"
#include "serve/grpc/call_context.h"
#include "serve/grpc/services.h"
#include "serve/grpc/watch_stream.h"

namespace tandem {
namespace {

constexpr int kKeepaliveMs = 30'000;              // a peer that lost its cable is noticed after this ...
constexpr int kKeepaliveTimeoutMs = 10'000;       // ... and this
constexpr int kMinClientPingMs = 5'000;           // clients may ping as often
constexpr int kHandshakeTimeoutMs = 10'000;       // a connection that says nothing is closed
constexpr int kMaxMetadataBytes = 16 << 10;       // of one call
constexpr int kMaxStreamsPerConnection = 8192;    // a client's further calls wait at the client
constexpr size_t kMaxDataFile = size_t{1} << 30;  // of a job, on this machine

std::string HostPort(const std::string& address, int port) {
  const bool bare_v6 = address.find(':') != std::string::npos && address[0] != '[';
  return bare_v6 ? absl::StrCat("[", address, "]:", port) : absl::StrCat(address, ":", port);
}

// gRPC's reflection registers itself with every server and asks nobody for a key. Here it is there once, or not at all.
class ReflectionOption final : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool reflect) : reflect_(reflect) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    using Reflection = grpc::reflection::ProtoServerReflectionPlugin;
    std::erase_if(*plugins, [](const auto& plugin) { return dynamic_cast<Reflection*>(plugin.get()) != nullptr; });
    if (reflect_) plugins->push_back(std::make_unique<Reflection>());
  }

 private:
  const bool reflect_;
};

absl::Status CheckPem(const char* what, const std::string& text) {
  if (absl::StrContains(text, "-----BEGIN ")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " has no '-----BEGIN', want PEM"));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const GrpcServerOptions& options) {
  if (options.tls_certificate.empty()) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckPem("the TLS certificate", options.tls_certificate));
  RETURN_IF_ERROR(CheckPem("the TLS key", options.tls_key));
  // Not required in the handshake, for health must answer those who have none: CallContext::Authorize requires it.
  grpc::SslServerCredentialsOptions ssl(options.tls_client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                                      : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  if (!options.tls_client_ca.empty()) RETURN_IF_ERROR(CheckPem("the TLS client CA", options.tls_client_ca));
  ssl.pem_root_certs = options.tls_client_ca;
  ssl.pem_key_cert_pairs.push_back({options.tls_key, options.tls_certificate});
  return grpc::SslServerCredentials(ssl);
}

// gRPC says only that it could not: binding once more by hand gives the reason.
std::string WhyNotListening(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string host = absl::StrReplaceAll(address, {{"[", ""}, {"]", ""}});
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return ::gai_strerror(error);
  }
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int reuse = 1;
  const bool bound = fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) == 0 &&
                     ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 1) == 0;
  const std::string reason =
      bound ? "gRPC refused the address, or the TLS certificate and key do not belong together" : std::strerror(errno);
  if (fd >= 0) ::close(fd);
  ::freeaddrinfo(found);
  return reason;
}

}  // namespace

class GrpcServer::Impl : public ModelObserver {
 public:
  Impl(const GrpcServerOptions& options, ModelHost* models)
      : shared_(models, {options.api_keys, !options.tls_client_ca.empty()}, options.threads, kMaxDataFile),
        services_(MakeServices(&shared_)) {}

  absl::Status Listen(const GrpcServerOptions& options) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    const bool ask = !options.api_keys.empty() || !options.tls_client_ca.empty();
    builder.SetOption(std::make_unique<ReflectionOption>(!ask));
    ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials, MakeCredentials(options));
    builder.AddListeningPort(HostPort(options.address, options.port), credentials, &port_);
    builder.SetMaxReceiveMessageSize(options.max_message_bytes);
    builder.SetMaxSendMessageSize(options.max_message_bytes);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else a second daemon would share the port unseen
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
    for (const std::unique_ptr<grpc::Service>& service : services_) builder.RegisterService(service.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      server_.reset();
      return absl::UnavailableError(absl::StrCat("cannot listen on ", HostPort(options.address, options.port), ": ",
                                                 WhyNotListening(options.address, options.port)));
    }
    for (const std::string& name : DaemonServiceNames()) {
      server_->GetHealthCheckService()->SetServingStatus(name, true);
    }
    shared_.models.SetObserver(this);  // which says at once whether there is a model
    return absl::OkStatus();
  }

  int port() const { return port_; }

  void BeginDrain() {
    shared_.draining.store(true);
    {
      const std::lock_guard<std::mutex> lock(health_mutex_);
      SetHealth(ModelServiceNames(), false);
      SetHealth(DaemonServiceNames(), false);
      SetHealth({""}, false);
    }
    EndWatches(absl::UnavailableError("tandemd is shutting down"));
  }

  void Shutdown(absl::Duration grace) {
    if (server_ == nullptr) return;
    BeginDrain();
    shared_.models.SetObserver(nullptr);
    server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
    server_->Wait();
    server_.reset();
  }

  void OnServing(bool serving) override {
    const std::lock_guard<std::mutex> lock(health_mutex_);
    SetHealth(ModelServiceNames(), serving && !shared_.draining.load());
    SetHealth({""}, serving && !shared_.draining.load());
  }

  void OnDrained() override { EndWatches(absl::UnavailableError("the model was unloaded")); }

 private:
  void SetHealth(const std::vector<std::string>& names, bool serving) {
    for (const std::string& name : names) server_->GetHealthCheckService()->SetServingStatus(name, serving);
  }

  void EndWatches(const absl::Status& why) {
    std::vector<std::weak_ptr<WatchStream>> watches;
    {
      const std::lock_guard<std::mutex> lock(shared_.watches_mutex);
      watches.swap(shared_.watches);
    }
    for (const std::weak_ptr<WatchStream>& watch : watches) {
      if (const std::shared_ptr<WatchStream> stream = watch.lock()) stream->Shutdown(why);
    }
  }

  CallContext shared_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex health_mutex_;  // so that what is said last is true
  int port_ = 0;
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options, ModelHost* models) {
  auto impl = std::make_unique<Impl>(options, models);
  RETURN_IF_ERROR(impl->Listen(options));
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() {
  impl_->Shutdown(absl::ZeroDuration());
}
int GrpcServer::port() const {
  return impl_->port();
}
void GrpcServer::BeginDrain() {
  impl_->BeginDrain();
}
void GrpcServer::Shutdown(absl::Duration grace) {
  impl_->Shutdown(grace);
}

void RedirectLibraryLogs() {
  gpr_set_log_function([](gpr_log_func_args* args) { LOG_DEBUG("grpc: {}", args->message); });
  google::protobuf::SetLogHandler([](google::protobuf::LogLevel, const char*, int, const std::string& message) {
    LOG_DEBUG("protobuf: {}", message);
  });
}

}  // namespace tandem
