#include "cli/client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "base/status.h"
#include "tandem/v1/adapters.grpc.pb.h"
#include "tandem/v1/daemon.grpc.pb.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/models.grpc.pb.h"

namespace tandem {
namespace {

using std::chrono::seconds;

constexpr seconds kCallLimit{30};
constexpr seconds kSlowCallLimit{600};         // a large data set is read and validated, an adapter loaded
constexpr seconds kModelCallLimit{24 * 3600};  // tens of gigabytes from a disk; keepalive notices a daemon that is gone

// One unary call of a stub's method, e.g. &v1::Adapters::Stub::Load.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(const Connection& connection, std::unique_ptr<Stub> stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request, seconds limit = kCallLimit) {
  grpc::ClientContext context;
  connection.Prepare(context);
  context.set_deadline(std::chrono::system_clock::now() + limit);
  Response response;
  RETURN_IF_ERROR(FromGrpc(((*stub).*method)(&context, request, &response)));
  return response;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ConnectOptions& options) {
  ASSIGN_OR_RETURN(Connection connection, Connection::Open(options));
  return std::unique_ptr<Client>(new Client(std::move(connection)));
}

Client::Client(Connection connection) : connection_(std::move(connection)) {}
Client::~Client() = default;

absl::Status Client::Generate(const v1::GenerateRequest& request,
                              const std::function<void(const v1::GenerateResponse&)>& on_response) {
  grpc::ClientContext context;
  connection_.Prepare(context);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    generate_ = &context;
  }
  const auto stub = v1::Inference::NewStub(connection_.channel());
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) on_response(response);
  const grpc::Status status = reader->Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  generate_ = nullptr;
  return FromGrpc(status);
}

void Client::CancelGenerate() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (generate_ != nullptr) generate_->TryCancel();
}

absl::StatusOr<v1::EmbedResponse> Client::Embed(const v1::EmbedRequest& request) {
  return Call(connection_, v1::Inference::NewStub(connection_.channel()), &v1::Inference::Stub::Embed, request,
              kSlowCallLimit);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request) {
  return Call(connection_, v1::Inference::NewStub(connection_.channel()), &v1::Inference::Stub::Tokenize, request);
}

absl::StatusOr<v1::Job> Client::CreateJob(const v1::CreateJobRequest& request) {
  return Call(connection_, v1::FineTuning::NewStub(connection_.channel()), &v1::FineTuning::Stub::CreateJob, request,
              kSlowCallLimit);
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return Call(connection_, v1::FineTuning::NewStub(connection_.channel()), &v1::FineTuning::Stub::GetJob, request);
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs() {
  return Call(connection_, v1::FineTuning::NewStub(connection_.channel()), &v1::FineTuning::Stub::ListJobs,
              v1::ListJobsRequest());
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& id) {
  v1::CancelJobRequest request;
  request.set_id(id);
  return Call(connection_, v1::FineTuning::NewStub(connection_.channel()), &v1::FineTuning::Stub::CancelJob, request);
}

absl::Status Client::WatchJob(const std::string& id, const std::function<void(const v1::JobEvent&)>& on_event) {
  grpc::ClientContext context;
  connection_.Prepare(context);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) return absl::CancelledError("stopped");
    watch_ = &context;
  }
  v1::WatchJobRequest request;
  request.set_id(id);
  const auto stub = v1::FineTuning::NewStub(connection_.channel());
  const auto reader = stub->WatchJob(&context, request);
  v1::JobEvent event;
  while (reader->Read(&event)) on_event(event);
  const grpc::Status status = reader->Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  watch_ = nullptr;
  return FromGrpc(status);
}

void Client::StopWatching() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  if (watch_ != nullptr) watch_->TryCancel();
}

absl::StatusOr<v1::ListAdaptersResponse> Client::ListAdapters() {
  return Call(connection_, v1::Adapters::NewStub(connection_.channel()), &v1::Adapters::Stub::List,
              v1::ListAdaptersRequest());
}

absl::StatusOr<v1::Adapter> Client::LoadAdapter(const std::string& name, const std::string& path) {
  v1::LoadAdapterRequest request;
  request.set_name(name);
  request.set_path(path);
  return Call(connection_, v1::Adapters::NewStub(connection_.channel()), &v1::Adapters::Stub::Load, request,
              kSlowCallLimit);
}

absl::Status Client::UnloadAdapter(const std::string& name) {
  v1::UnloadAdapterRequest request;
  request.set_name(name);
  return Call(connection_, v1::Adapters::NewStub(connection_.channel()), &v1::Adapters::Stub::Unload, request).status();
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels() {
  return Call(connection_, v1::Models::NewStub(connection_.channel()), &v1::Models::Stub::List,
              v1::ListModelsRequest());
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  return Call(connection_, v1::Models::NewStub(connection_.channel()), &v1::Models::Stub::Get, request);
}

absl::StatusOr<v1::Model> Client::LoadModel(const std::string& path, const std::string& name) {
  v1::LoadModelRequest request;
  request.set_path(path);
  request.set_name(name);
  return Call(connection_, v1::Models::NewStub(connection_.channel()), &v1::Models::Stub::Load, request,
              kModelCallLimit);
}

absl::Status Client::UnloadModel(const v1::UnloadModelRequest& request) {
  return Call(connection_, v1::Models::NewStub(connection_.channel()), &v1::Models::Stub::Unload, request,
              kModelCallLimit)
      .status();
}

absl::StatusOr<v1::DaemonStatus> Client::GetStatus() {
  return Call(connection_, v1::Daemon::NewStub(connection_.channel()), &v1::Daemon::Stub::GetStatus,
              v1::GetStatusRequest());
}

}  // namespace tandem
