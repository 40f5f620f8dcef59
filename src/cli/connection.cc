#include "cli/connection.h"

#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr std::chrono::seconds kConnectLimit{3};
constexpr int kPingMs = 20'000;
constexpr int kPingTimeoutMs = 10'000;

bool WantsTls(const ConnectOptions& options) {
  return options.tls || !options.ca_file.empty() || !options.certificate_file.empty() || !options.key_file.empty();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ConnectOptions& options) {
  if (!WantsTls(options)) return grpc::InsecureChannelCredentials();
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return absl::InvalidArgumentError("a client certificate and its key go together: want both or neither");
  }
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) {
    ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(options.ca_file));
  }
  if (!options.key_file.empty()) {
    ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadFile(options.certificate_file));
    ASSIGN_OR_RETURN(ssl.pem_private_key, ReadFile(options.key_file));
  }
  return grpc::SslCredentials(ssl);
}

// Waits until the channel is ready; false where the first attempt fails or the limit passes. gRPC itself would go on
// trying.
bool AwaitReady(grpc::Channel& channel) {
  const auto limit = std::chrono::system_clock::now() + kConnectLimit;
  grpc_connectivity_state state = channel.GetState(true);
  while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE && state != GRPC_CHANNEL_SHUTDOWN) {
    if (!channel.WaitForStateChange(state, limit)) return false;
    state = channel.GetState(true);
  }
  return state == GRPC_CHANNEL_READY;
}

}  // namespace

absl::StatusOr<Connection> Connection::Open(const ConnectOptions& options) {
  // What gRPC has to say comes back as a status; its log is for those who ask for it.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, MakeCredentials(options));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a daemon on this machine or in this net is not behind http_proxy
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetMaxReceiveMessageSize(-1);
  if (options.own_connection) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(options.server, credentials, arguments);
  if (!AwaitReady(*channel)) {
    const char* const hint =
        WantsTls(options)
            ? "; is it there, does it speak TLS, and does its certificate fit --tls-ca and the name it is called by?"
            : "; start one with 'tandemd --config configs/quickstart.yaml', or name another with --server or "
              "TANDEM_SERVER (one that speaks TLS wants --tls)";
    return absl::UnavailableError(absl::StrCat("no tandemd at ", options.server, hint));
  }
  return Connection(std::move(channel), options.api_key);
}

void Connection::Prepare(grpc::ClientContext& context) const {
  if (!api_key_.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", api_key_));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace tandem
