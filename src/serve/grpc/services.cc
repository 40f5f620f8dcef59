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
#include "serve/grpc/unary.h"
#include "serve/grpc/watch_stream.h"
#include "tandem/v1/adapters.grpc.pb.h"
#include "tandem/v1/daemon.grpc.pb.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/inference.grpc.pb.h"

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
    return RunUnary<v1::TokenizeRequest>(*shared_, shared_->calls, context, in, out,
                                         [this](v1::TokenizeRequest& request) { return Tokens(request); });
  }

  grpc::ServerUnaryReactor* Detokenize(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::DetokenizeRequest>(
        *shared_, shared_->calls, context, in, out,
        [this](const v1::DetokenizeRequest& request) -> absl::StatusOr<v1::DetokenizeResponse> {
          const std::vector<int32_t> ids(request.ids().begin(), request.ids().end());
          v1::DetokenizeResponse response;
          ASSIGN_OR_RETURN(*response.mutable_text(),
                           shared_->generation.Detokenize(ids, request.skip_special_tokens()));
          return response;
        });
  }

  grpc::ServerUnaryReactor* Abort(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnaryAs<v1::AbortRequest>(
        *shared_, shared_->calls, context, in, out,
        [this](const v1::AbortRequest& request, const std::string& caller) -> absl::StatusOr<v1::AbortResponse> {
          if (request.request_id().empty()) return absl::InvalidArgumentError("request_id is empty, want an id");
          shared_->generation.Abort(ScopedRequestId(caller, request.request_id()));
          return v1::AbortResponse();
        });
  }

 private:
  absl::StatusOr<v1::TokenizeResponse> Tokens(v1::TokenizeRequest& request) const {
    const bool add = !request.has_add_special_tokens() || request.add_special_tokens();
    ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        shared_->generation.Tokenize(FromProto(request), add ? SpecialTokens::kAdd : SpecialTokens::kNone));
    v1::TokenizeResponse response;
    response.mutable_ids()->Add(ids.begin(), ids.end());
    for (const int32_t id : ids) {
      const std::string token = shared_->parts.model.tokenizer->IdToToken(id);
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
    return RunUnary<v1::CreateJobRequest>(*shared_, shared_->slow_calls, context, in, out,
                                          [this](v1::CreateJobRequest& request) { return Create(request); });
  }

  grpc::ServerUnaryReactor* GetJob(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetJobRequest>(*shared_, shared_->calls, context, in, out,
                                       [this](const v1::GetJobRequest& request) -> absl::StatusOr<v1::Job> {
                                         ASSIGN_OR_RETURN(const JobInfo job, api().GetJob(request.id()));
                                         return ToProto(job);
                                       });
  }

  grpc::ServerUnaryReactor* ListJobs(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::ListJobsRequest>(*shared_, shared_->calls, context, in, out,
                                         [this](const v1::ListJobsRequest&) -> absl::StatusOr<v1::ListJobsResponse> {
                                           v1::ListJobsResponse response;
                                           for (const JobInfo& job : api().ListJobs())
                                             *response.add_jobs() = ToProto(job);
                                           return response;
                                         });
  }

  grpc::ServerWriteReactor<ByteBuffer>* WatchJob(CallbackServerContext* context, const ByteBuffer* in) override {
    return WatchStream::Create(shared_, *context, in);
  }

  grpc::ServerUnaryReactor* CancelJob(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::CancelJobRequest>(*shared_, shared_->calls, context, in, out,
                                          [this](const v1::CancelJobRequest& request) -> absl::StatusOr<v1::Job> {
                                            ASSIGN_OR_RETURN(const JobInfo job, api().CancelJob(request.id()));
                                            return ToProto(job);
                                          });
  }

 private:
  FineTuningApi& api() const { return *shared_->parts.fine_tuning; }

  absl::StatusOr<v1::Job> Create(v1::CreateJobRequest& request) const {
    RETURN_IF_ERROR(shared_->CheckServing());
    ASSIGN_OR_RETURN(JobInput input, FromProto(request));
    ASSIGN_OR_RETURN(JobSpec spec,
                     BuildJobSpec(std::move(input), shared_->parts.model.max_context, shared_->max_data_bytes));
    ASSIGN_OR_RETURN(const JobInfo job, api().CreateJob(std::move(spec)));
    return ToProto(job);
  }

  CallContext* const shared_;
};

class AdaptersService final : public AdaptersBase {
 public:
  explicit AdaptersService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* List(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::ListAdaptersRequest>(
        *shared_, shared_->calls, context, in, out,
        [this](const v1::ListAdaptersRequest&) -> absl::StatusOr<v1::ListAdaptersResponse> {
          v1::ListAdaptersResponse response;
          for (const AdapterInfo& adapter : api().ListAdapters()) *response.add_adapters() = ToProto(adapter);
          return response;
        });
  }

  grpc::ServerUnaryReactor* Load(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::LoadAdapterRequest>(
        *shared_, shared_->slow_calls, context, in, out,
        [this](const v1::LoadAdapterRequest& request) -> absl::StatusOr<v1::Adapter> {
          RETURN_IF_ERROR(shared_->CheckServing());
          RETURN_IF_ERROR(CheckAdapterName("name", request.name()));
          if (request.path().empty()) return absl::InvalidArgumentError("path is empty, want a PEFT directory");
          ASSIGN_OR_RETURN(const AdapterInfo adapter, api().LoadAdapter(request.name(), request.path()));
          return ToProto(adapter);
        });
  }

  grpc::ServerUnaryReactor* Unload(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::UnloadAdapterRequest>(
        *shared_, shared_->calls, context, in, out,
        [this](const v1::UnloadAdapterRequest& request) -> absl::StatusOr<v1::UnloadAdapterResponse> {
          RETURN_IF_ERROR(api().UnloadAdapter(request.name()));
          return v1::UnloadAdapterResponse();
        });
  }

 private:
  AdapterApi& api() const { return *shared_->parts.adapters; }
  CallContext* const shared_;
};

class DaemonService final : public DaemonBase {
 public:
  explicit DaemonService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* GetStatus(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetStatusRequest>(*shared_, shared_->calls, context, in, out,
                                          [this](const v1::GetStatusRequest&) -> absl::StatusOr<v1::DaemonStatus> {
                                            v1::DaemonStatus status = ToProto(shared_->parts.status->GetStatus());
                                            if (shared_->draining.load()) status.set_draining(true);
                                            return status;
                                          });
  }

 private:
  CallContext* const shared_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeServices(CallContext* shared) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<InferenceService>(shared));
  services.push_back(std::make_unique<FineTuningService>(shared));
  services.push_back(std::make_unique<AdaptersService>(shared));
  services.push_back(std::make_unique<DaemonService>(shared));
  return services;
}

std::vector<std::string> ServiceNames() {
  return {v1::Inference::service_full_name(), v1::FineTuning::service_full_name(), v1::Adapters::service_full_name(),
          v1::Daemon::service_full_name()};
}

}  // namespace tandem
