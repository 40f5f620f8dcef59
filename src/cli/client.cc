#include "cli/client.h"

#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <utility>

#include "base/status.h"
#include "tandem/v1/adapters.grpc.pb.h"
#include "tandem/v1/daemon.grpc.pb.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {
namespace {

using std::chrono::seconds;

constexpr seconds kConnectLimit{3};
constexpr seconds kCallLimit{30};
constexpr seconds kSlowCallLimit{600};  // a large data set is read and validated, an adapter loaded
constexpr int kPingMs = 20'000;
constexpr int kPingTimeoutMs = 10'000;

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// One unary call of a stub's method, e.g. &v1::Adapters::Stub::Load.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(std::unique_ptr<Stub> stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request, seconds limit = kCallLimit) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  Response response;
  RETURN_IF_ERROR(FromGrpc(((*stub).*method)(&context, request, &response)));
  return response;
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

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& server) {
  // What gRPC has to say comes back as a status; its log is for those who ask for it.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a daemon on this machine or in this net is not behind http_proxy
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetMaxReceiveMessageSize(-1);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  if (!AwaitReady(*channel)) {
    return absl::UnavailableError(absl::StrCat("no tandemd at ", server,
                                               "; start one with 'tandemd --config configs/quickstart.yaml', or name "
                                               "another with --server or TANDEM_SERVER"));
  }
  return std::unique_ptr<Client>(new Client(std::move(channel)));
}

Client::Client(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)) {}
Client::~Client() = default;

absl::Status Client::Generate(const v1::GenerateRequest& request,
                              const std::function<void(const v1::GenerateResponse&)>& on_response) {
  grpc::ClientContext context;
  const auto stub = v1::Inference::NewStub(channel_);
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) on_response(response);
  return FromGrpc(reader->Finish());
}

absl::StatusOr<v1::Job> Client::CreateJob(const v1::CreateJobRequest& request) {
  return Call(v1::FineTuning::NewStub(channel_), &v1::FineTuning::Stub::CreateJob, request, kSlowCallLimit);
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return Call(v1::FineTuning::NewStub(channel_), &v1::FineTuning::Stub::GetJob, request);
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs() {
  return Call(v1::FineTuning::NewStub(channel_), &v1::FineTuning::Stub::ListJobs, v1::ListJobsRequest());
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& id) {
  v1::CancelJobRequest request;
  request.set_id(id);
  return Call(v1::FineTuning::NewStub(channel_), &v1::FineTuning::Stub::CancelJob, request);
}

absl::Status Client::WatchJob(const std::string& id, const std::function<void(const v1::JobEvent&)>& on_event) {
  grpc::ClientContext context;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) return absl::CancelledError("stopped");
    watch_ = &context;
  }
  v1::WatchJobRequest request;
  request.set_id(id);
  const auto stub = v1::FineTuning::NewStub(channel_);
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
  return Call(v1::Adapters::NewStub(channel_), &v1::Adapters::Stub::List, v1::ListAdaptersRequest());
}

absl::StatusOr<v1::Adapter> Client::LoadAdapter(const std::string& name, const std::string& path) {
  v1::LoadAdapterRequest request;
  request.set_name(name);
  request.set_path(path);
  return Call(v1::Adapters::NewStub(channel_), &v1::Adapters::Stub::Load, request, kSlowCallLimit);
}

absl::Status Client::UnloadAdapter(const std::string& name) {
  v1::UnloadAdapterRequest request;
  request.set_name(name);
  return Call(v1::Adapters::NewStub(channel_), &v1::Adapters::Stub::Unload, request).status();
}

absl::StatusOr<v1::DaemonStatus> Client::GetStatus() {
  return Call(v1::Daemon::NewStub(channel_), &v1::Daemon::Stub::GetStatus, v1::GetStatusRequest());
}

}  // namespace tandem
