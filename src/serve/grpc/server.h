// The gRPC front end: tandem.v1, grpc.health.v1 and, where nobody has to show who they are, server reflection, on one
// port. Callback API: a stream costs memory, not a thread. gRPC brings at most 16 threads of its own, we bring
// `threads` + 2, and the model host its one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "serve/core/access.h"
#include "serve/core/model_host.h"

namespace tandem {

struct GrpcServerOptions {
  std::string address = "127.0.0.1";
  int port = 50151;  // 0: any free one
  int max_message_bytes = 64 << 20;
  int threads = 2;  // that tokenize prompts and answer calls

  // PEM texts. With a certificate and its key the port speaks TLS and nothing else; with client_ca too, callers must
  // show a certificate that it has signed.
  std::string tls_certificate, tls_key, tls_client_ca;
  std::vector<ApiKey> api_keys;  // where there are any, callers must show one
};

class GrpcServer {
 public:
  // Listens, and says SERVING while `models` has one. `models` outlives the server. UNAVAILABLE where it cannot listen,
  // with the system's reason.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options, ModelHost* models);
  ~GrpcServer();  // Shutdown(now), unless it was

  int port() const;

  // Health says NOT_SERVING, new work is refused with UNAVAILABLE, watches end; running generations go on.
  void BeginDrain();

  // Stops listening, gives running calls `grace` to finish, cancels the rest (which aborts their requests) and waits
  // for them: the model must still be there to report their end. Once.
  void Shutdown(absl::Duration grace);

 private:
  class Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What gRPC and protobuf have to say becomes debug lines of ours: callers get it as statuses. Call once, from main.
void RedirectLibraryLogs();

}  // namespace tandem
