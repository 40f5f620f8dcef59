#include "serve/grpc/services.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "serve/core/access.h"
#include "serve/core/jobs.h"
#include "serve/core/validate.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/embed_call.h"
#include "serve/grpc/generate_stream.h"
#include "serve/grpc/models_service.h"
#include "serve/grpc/unary.h"
#include "serve/grpc/watch_stream.h"
#include "tandem/v1/adapters.grpc.pb.h"
#include "tandem/v1/daemon.grpc.pb.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/models.grpc.pb.h"

namespace tandem {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;

using InferenceBase = v1::Inference::WithRawCallbackMethod_Generate<v1::Inference::WithRawCallbackMethod_Embed<
    v1::Inference::WithRawCallbackMethod_Tokenize<v1::Inference::WithRawCallbackMethod_Detokenize<
        v1::Inference::WithRawCallbackMethod_Abort<v1::Inference::Service>>>>>;
using FineTuningBase = v1::FineTuning::WithRawCallbackMethod_CreateJob<v1::FineTuning::WithRawCallbackMethod_GetJob<
    v1::FineTuning::WithRawCallbackMethod_ListJobs<v1::FineTuning::WithRawCallbackMethod_WatchJob<
        v1::FineTuning::WithRawCallbackMethod_CancelJob<v1::FineTuning::Service>>>>>;
using AdaptersBase = v1::Adapters::WithRawCallbackMethod_List<
    v1::Adapters::WithRawCallbackMethod_Load<v1::Adapters::WithRawCallbackMethod_Unload<v1::Adapters::Service>>>;
using DaemonBase = v1::Daemon::WithRawCallbackMethod_GetStatus<v1::Daemon::Service>;

class InferenceService final : public InferenceBase {
 public:
  explicit InferenceService(CallContext* shared) : shared_(shared) {}

  grpc::ServerWriteReactor<ByteBuffer>* Generate(CallbackServerContext* context, const ByteBuffer* in) override {
    return GenerateStream::Create(shared_, *context, in);
  }

  grpc::ServerUnaryReactor* Embed(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return EmbedCall::Create(shared_, *context, in, out);
  }

  grpc::ServerUnaryReactor* Tokenize(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::TokenizeRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, v1::TokenizeRequest& request, const std::string&) { return Tokens(model, request); });
  }

  grpc::ServerUnaryReactor* Detokenize(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::DetokenizeRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, const v1::DetokenizeRequest& request,
           const std::string&) -> absl::StatusOr<v1::DetokenizeResponse> {
          const std::vector<int32_t> ids(request.ids().begin(), request.ids().end());
          v1::DetokenizeResponse response;
          ASSIGN_OR_RETURN(*response.mutable_text(), model.generation.Detokenize(ids, request.skip_special_tokens()));
          return response;
        });
  }

  grpc::ServerUnaryReactor* Abort(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::AbortRequest>(*shared_, shared_->calls, context, in, out,
                                        [](ServedModel& model, const v1::AbortRequest& request,
                                           const std::string& caller) -> absl::StatusOr<v1::AbortResponse> {
                                          if (request.request_id().empty()) {
                                            return absl::InvalidArgumentError("request_id is empty, want an id");
                                          }
                                          model.generation.Abort(ScopedRequestId(caller, request.request_id()));
                                          return v1::AbortResponse();
                                        });
  }

 private:
  static absl::StatusOr<v1::TokenizeResponse> Tokens(ServedModel& model, v1::TokenizeRequest& request) {
    const bool add = !request.has_add_special_tokens() || request.add_special_tokens();
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                     model.generation.Tokenize(FromProto(request), add ? SpecialTokens::kAdd : SpecialTokens::kNone));
    v1::TokenizeResponse response;
    response.mutable_ids()->Add(ids.begin(), ids.end());
    for (const int32_t id : ids) {
      const std::string token = model.parts.model.tokenizer->IdToToken(id);
      // Some vocabularies hold bytes that are no character by themselves.
      response.add_tokens(CheckUtf8("token", token).ok() ? token : "\xEF\xBF\xBD");
    }
    return response;
  }

  CallContext* const shared_;
};

class FineTuningService final : public FineTuningBase {
 public:
  explicit FineTuningService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* CreateJob(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::CreateJobRequest>(*shared_, shared_->slow_calls, context, in, out,
                                            [this](ServedModel& model, v1::CreateJobRequest& request,
                                                   const std::string&) { return Create(model, request); });
  }

  grpc::ServerUnaryReactor* GetJob(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::GetJobRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, const v1::GetJobRequest& request, const std::string&) -> absl::StatusOr<v1::Job> {
          ASSIGN_OR_RETURN(const JobInfo job, model.parts.fine_tuning->GetJob(request.id()));
          return ToProto(job);
        });
  }

  grpc::ServerUnaryReactor* ListJobs(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::ListJobsRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, const v1::ListJobsRequest&, const std::string&) -> absl::StatusOr<v1::ListJobsResponse> {
          v1::ListJobsResponse response;
          for (const JobInfo& job : model.parts.fine_tuning->ListJobs()) *response.add_jobs() = ToProto(job);
          return response;
        });
  }

  grpc::ServerWriteReactor<ByteBuffer>* WatchJob(CallbackServerContext* context, const ByteBuffer* in) override {
    return WatchStream::Create(shared_, *context, in);
  }

  grpc::ServerUnaryReactor* CancelJob(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::CancelJobRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, const v1::CancelJobRequest& request, const std::string&) -> absl::StatusOr<v1::Job> {
          ASSIGN_OR_RETURN(const JobInfo job, model.parts.fine_tuning->CancelJob(request.id()));
          return ToProto(job);
        });
  }

 private:
  absl::StatusOr<v1::Job> Create(ServedModel& model, v1::CreateJobRequest& request) const {
    RETURN_IF_ERROR(shared_->CheckServing());
    ASSIGN_OR_RETURN(JobInput input, FromProto(request));
    ASSIGN_OR_RETURN(JobSpec spec,
                     BuildJobSpec(std::move(input), model.parts.model.max_context, shared_->max_data_bytes));
    ASSIGN_OR_RETURN(const JobInfo job, model.parts.fine_tuning->CreateJob(std::move(spec)));
    return ToProto(job);
  }

  CallContext* const shared_;
};

class AdaptersService final : public AdaptersBase {
 public:
  explicit AdaptersService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* List(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::ListAdaptersRequest>(
        *shared_, shared_->calls, context, in, out,
        [](ServedModel& model, const v1::ListAdaptersRequest&,
           const std::string&) -> absl::StatusOr<v1::ListAdaptersResponse> {
          v1::ListAdaptersResponse response;
          for (const AdapterInfo& adapter : model.parts.adapters->ListAdapters()) {
            *response.add_adapters() = ToProto(adapter);
          }
          return response;
        });
  }

  grpc::ServerUnaryReactor* Load(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::LoadAdapterRequest>(
        *shared_, shared_->slow_calls, context, in, out,
        [this](ServedModel& model, const v1::LoadAdapterRequest& request,
               const std::string&) -> absl::StatusOr<v1::Adapter> {
          RETURN_IF_ERROR(shared_->CheckServing());
          RETURN_IF_ERROR(CheckAdapterName("name", request.name()));
          if (request.path().empty()) return absl::InvalidArgumentError("path is empty, want a PEFT directory");
          ASSIGN_OR_RETURN(const AdapterInfo adapter,
                           model.parts.adapters->LoadAdapter(request.name(), request.path()));
          return ToProto(adapter);
        });
  }

  grpc::ServerUnaryReactor* Unload(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunOnModel<v1::UnloadAdapterRequest>(*shared_, shared_->calls, context, in, out,
                                                [](ServedModel& model, const v1::UnloadAdapterRequest& request,
                                                   const std::string&) -> absl::StatusOr<v1::UnloadAdapterResponse> {
                                                  RETURN_IF_ERROR(model.parts.adapters->UnloadAdapter(request.name()));
                                                  return v1::UnloadAdapterResponse();
                                                });
  }

 private:
  CallContext* const shared_;
};

class DaemonService final : public DaemonBase {
 public:
  explicit DaemonService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* GetStatus(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetStatusRequest>(
        *shared_, shared_->calls, context, in, out,
        [this](const v1::GetStatusRequest&) -> absl::StatusOr<v1::DaemonStatus> { return Status(); });
  }

 private:
  v1::DaemonStatus Status() const {
    v1::DaemonStatus status;
    if (const absl::StatusOr<ModelLease> model = shared_->models.Lease(); model.ok()) {
      status = ToProto((*model)->parts.status->GetStatus());
      status.mutable_model()->set_name((*model)->name);
    }
    FillTimestamp(shared_->started, status.mutable_started());
    status.set_version(TANDEM_VERSION);
    if (shared_->draining.load()) status.set_draining(true);
    return status;
  }

  CallContext* const shared_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeServices(CallContext* shared) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<InferenceService>(shared));
  services.push_back(std::make_unique<FineTuningService>(shared));
  services.push_back(std::make_unique<AdaptersService>(shared));
  services.push_back(MakeModelsService(shared));
  services.push_back(std::make_unique<DaemonService>(shared));
  return services;
}

std::vector<std::string> ModelServiceNames() {
  return {v1::Inference::service_full_name(), v1::FineTuning::service_full_name(), v1::Adapters::service_full_name()};
}

std::vector<std::string> DaemonServiceNames() {
  return {v1::Models::service_full_name(), v1::Daemon::service_full_name()};
}

}  // namespace tandem
