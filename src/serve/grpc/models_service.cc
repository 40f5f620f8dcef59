#include "serve/grpc/models_service.h"

#include <utility>

#include "base/status.h"
#include "serve/core/validate.h"
#include "serve/grpc/convert.h"
#include "serve/grpc/unary.h"
#include "tandem/v1/models.grpc.pb.h"

namespace tandem {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;

using ModelsBase = v1::Models::WithRawCallbackMethod_List<v1::Models::WithRawCallbackMethod_Get<
    v1::Models::WithRawCallbackMethod_Load<v1::Models::WithRawCallbackMethod_Unload<v1::Models::Service>>>>;

class ModelsService final : public ModelsBase {
 public:
  explicit ModelsService(CallContext* shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* List(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::ListModelsRequest>(*shared_, shared_->calls, context, in, out,
                                           [this](v1::ListModelsRequest&) -> absl::StatusOr<v1::ListModelsResponse> {
                                             v1::ListModelsResponse response;
                                             const std::optional<ModelInfo> model = shared_->models.Info();
                                             if (model.has_value()) *response.add_models() = ToProto(*model);
                                             return response;
                                           });
  }

  grpc::ServerUnaryReactor* Get(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetModelRequest>(*shared_, shared_->calls, context, in, out,
                                         [this](v1::GetModelRequest& request) -> absl::StatusOr<v1::Model> {
                                           ASSIGN_OR_RETURN(const ModelInfo model, shared_->models.Get(request.name()));
                                           return ToProto(model);
                                         });
  }

  grpc::ServerUnaryReactor* Load(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnaryLater<v1::LoadModelRequest, v1::Model>(
        *shared_, shared_->calls, context, in, out,
        [this](v1::LoadModelRequest& request, const UnaryCall<v1::Model>& call) {
          absl::StatusOr<ModelSource> source = Source(request);
          if (!source.ok()) return call.reply(source.status());
          shared_->models.Load(*std::move(source), [reply = call.reply](const absl::StatusOr<ModelInfo>& model) {
            reply(model.ok() ? absl::StatusOr<v1::Model>(ToProto(*model)) : model.status());
          });
        });
  }

  grpc::ServerUnaryReactor* Unload(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnaryLater<v1::UnloadModelRequest, v1::UnloadModelResponse>(
        *shared_, shared_->calls, context, in, out,
        [this](v1::UnloadModelRequest& request, const UnaryCall<v1::UnloadModelResponse>& call) {
          const absl::StatusOr<absl::Duration> grace = Grace(request);
          if (!grace.ok()) return call.reply(grace.status());
          shared_->models.Unload(request.name(), *grace, [reply = call.reply](const absl::Status& status) {
            reply(status.ok() ? absl::StatusOr<v1::UnloadModelResponse>(v1::UnloadModelResponse()) : status);
          });
        });
  }

 private:
  absl::StatusOr<ModelSource> Source(v1::LoadModelRequest& request) const {
    RETURN_IF_ERROR(shared_->CheckServing());
    if (request.path().empty()) return absl::InvalidArgumentError("path is empty, want a model's directory");
    const std::string name = request.name().empty() ? ModelName(request.path()) : request.name();
    RETURN_IF_ERROR(CheckAdapterName("name", name));
    return ModelSource{request.path(), name};
  }

  static absl::StatusOr<absl::Duration> Grace(const v1::UnloadModelRequest& request) {
    if (request.name().empty()) return absl::InvalidArgumentError("name is empty, want a loaded model's");
    if (!request.has_grace()) return absl::InfiniteDuration();  // the host's limit
    const absl::Duration grace = absl::Seconds(request.grace().seconds()) + absl::Nanoseconds(request.grace().nanos());
    if (grace >= absl::ZeroDuration()) return grace;
    return absl::InvalidArgumentError(absl::StrCat("grace is ", absl::FormatDuration(grace), ", want 0 or more"));
  }

  CallContext* const shared_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeModelsService(CallContext* shared) {
  return std::make_unique<ModelsService>(shared);
}

}  // namespace tandem
