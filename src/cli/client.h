// The daemon's services for the commands: blocking calls that return absl::Status with gRPC's code and message. No call
// waits for ever: connecting has a limit of its own, unary calls a deadline, streams keepalive pings.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cli/connection.h"
#include "tandem/v1/adapters.pb.h"
#include "tandem/v1/daemon.pb.h"
#include "tandem/v1/finetuning.pb.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/models.pb.h"

namespace grpc {
class ClientContext;
}

namespace tandem {

class Client {
 public:
  // As Connection::Open.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ConnectOptions& options);
  ~Client();

  const Connection& connection() const { return connection_; }

  absl::Status Generate(const v1::GenerateRequest& request,
                        const std::function<void(const v1::GenerateResponse&)>& on_response);
  // Ends the Generate of another thread, if one runs, with CANCELLED. Thread-safe.
  void CancelGenerate();
  absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request);

  absl::StatusOr<v1::Job> CreateJob(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::Job> GetJob(const std::string& id);
  absl::StatusOr<v1::ListJobsResponse> ListJobs();
  absl::StatusOr<v1::Job> CancelJob(const std::string& id);
  // Until the job's last event. CANCELLED after StopWatching.
  absl::Status WatchJob(const std::string& id, const std::function<void(const v1::JobEvent&)>& on_event);
  // Ends a WatchJob of another thread, or the next one. Thread-safe.
  void StopWatching();

  absl::StatusOr<v1::ListAdaptersResponse> ListAdapters();
  absl::StatusOr<v1::Adapter> LoadAdapter(const std::string& name, const std::string& path);
  absl::Status UnloadAdapter(const std::string& name);

  absl::StatusOr<v1::ListModelsResponse> ListModels();
  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  // Waits for as long as it takes. With an empty name it gets that of the directory.
  absl::StatusOr<v1::Model> LoadModel(const std::string& path, const std::string& name);
  absl::Status UnloadModel(const v1::UnloadModelRequest& request);

  absl::StatusOr<v1::DaemonStatus> GetStatus();

 private:
  explicit Client(Connection connection);

  const Connection connection_;
  std::mutex mutex_;
  grpc::ClientContext* watch_ ABSL_GUARDED_BY(mutex_) = nullptr;     // the WatchJob that runs
  grpc::ClientContext* generate_ ABSL_GUARDED_BY(mutex_) = nullptr;  // the Generate that runs
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
