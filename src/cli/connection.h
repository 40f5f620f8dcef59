// The way to the daemon: address, TLS, API key. One of these serves any number of calls and threads.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class ClientContext;
class Status;
}  // namespace grpc

namespace tandem {

struct ConnectOptions {
  std::string server = "127.0.0.1:50151";
  std::string api_key;           // "": none is sent
  bool tls = false;              // also where any of the files below is given
  std::string ca_file;           // PEM; "": the system's certificate authorities
  std::string certificate_file;  // PEM, of this client, with key_file: for a daemon that asks for one (mTLS)
  std::string key_file;
  bool own_connection = false;  // a TCP connection that no other Connection of this process shares
  std::string server_name;      // that the daemon's certificate must carry; "": the host of `server`
};

class Connection {
 public:
  // UNAVAILABLE: "no tandemd at host:port ...", within three seconds, at once where the port is closed.
  static absl::StatusOr<Connection> Open(const ConnectOptions& options);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Makes a call one of this client's: every call's context comes by here.
  void Prepare(grpc::ClientContext& context) const;

 private:
  Connection(std::shared_ptr<grpc::Channel> channel, std::string api_key)
      : channel_(std::move(channel)), api_key_(std::move(api_key)) {}

  std::shared_ptr<grpc::Channel> channel_;  // shared with gRPC's own threads
  std::string api_key_;
};

// The same code and message.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace tandem
