// Loading and unloading the demo model through gRPC while calls run: nobody is left hanging, nothing is left behind.
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "engine/recording.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/engine_model.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/models.grpc.pb.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

const char kDemo[] = TANDEM_SOURCE_DIR "/models/demo";

EngineOptions Options() {
  EngineOptions options;
  options.threads = 2;
  options.kv_capacity_tokens = 4096;
  options.adapters_directory = testing::TempDir() + "/no_adapters";
  return options;
}

class ModelsTest : public testing::Test {
 protected:
  ModelsTest() {
    auto server = GrpcServer::Start({.port = 0}, &host_);
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
    models_ = v1::Models::NewStub(channel_);
    inference_ = v1::Inference::NewStub(channel_);
  }

  grpc::Status Load(const std::string& path, const std::string& name = "", v1::Model* model = nullptr) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    request.set_path(path);
    request.set_name(name);
    v1::Model answer;
    return models_->Load(&context, request, model != nullptr ? model : &answer);
  }
  grpc::Status Unload(const std::string& name, int grace_seconds) {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    request.set_name(name);
    request.mutable_grace()->set_seconds(grace_seconds);
    v1::UnloadModelResponse answer;
    return models_->Unload(&context, request, &answer);
  }

  static v1::GenerateRequest Request(int max_tokens) {
    v1::GenerateRequest request;
    request.set_text("Once upon a time");
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }
  std::string Generate(int max_tokens, grpc::Status* status) {
    grpc::ClientContext context;
    const auto reader = inference_->Generate(&context, Request(max_tokens));
    std::string text;
    v1::GenerateResponse response;
    while (reader->Read(&response)) text += response.text();
    *status = reader->Finish();
    return text;
  }

  ModelHost host_{EngineLoader(Options()), absl::Seconds(30)};
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Models::Stub> models_;
  std::unique_ptr<v1::Inference::Stub> inference_;
};

TEST_F(ModelsTest, AModelThatIsLoadedAgainAnswersAsBefore) {
  grpc::Status status;
  Generate(8, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::Model model;
  ASSERT_TRUE(Load(kDemo, "", &model).ok());
  EXPECT_EQ(model.name(), "demo");
  EXPECT_EQ(model.state(), v1::MODEL_STATE_READY);
  EXPECT_GT(model.num_parameters(), 0);
  const std::string text = Generate(8, &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(Unload("demo", 0).ok());
  Generate(8, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Load(kDemo, "again").ok());
  EXPECT_EQ(Generate(8, &status), text);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ModelsTest, UnloadingEndsRequestsAndJobsWithTheReason) {
  ASSERT_TRUE(Load(kDemo).ok());
  grpc::ClientContext generate_context, create_context, watch_context;
  const auto fine_tuning = v1::FineTuning::NewStub(channel_);
  v1::CreateJobRequest create;
  create.set_adapter("noise");
  create.mutable_data()->set_jsonl("{\"text\": \"Once upon a time there was a fox.\"}\n");
  create.mutable_hyperparameters()->set_max_steps(100000);
  v1::Job job;
  ASSERT_TRUE(fine_tuning->CreateJob(&create_context, create, &job).ok());
  v1::WatchJobRequest watch;
  watch.set_id(job.id());
  const auto events = fine_tuning->WatchJob(&watch_context, watch);

  const auto reader = inference_->Generate(&generate_context, Request(1500));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ModelLease lease = *host_.Lease();
  StepHold hold(*lease->parts.inference);  // so that the request does not end before the unloading begins
  std::thread unload([&] { EXPECT_TRUE(Unload("demo", 0).ok()); });
  while (!lease->parts.status->GetStatus().draining) std::this_thread::yield();
  hold.Release();
  lease.reset();
  unload.join();

  while (reader->Read(&response)) {
  }
  const grpc::Status generated = reader->Finish();
  EXPECT_EQ(generated.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(generated.error_message(), HasSubstr("model 'demo' is being unloaded"));
  v1::JobEvent event, last;
  while (events->Read(&event)) last = event;
  EXPECT_TRUE(events->Finish().ok());
  EXPECT_EQ(last.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(last.state_changed().message(), HasSubstr("model 'demo' is being unloaded"));
}

TEST_F(ModelsTest, RunningRequestsMayFinishWithinTheGrace) {
  ASSERT_TRUE(Load(kDemo).ok());
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, Request(200));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_TRUE(Unload("demo", 30).ok());
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(response.usage().completion_tokens(), 200);
}

TEST_F(ModelsTest, AReaderThatDoesNotReadHoldsNobodyUp) {
  ASSERT_TRUE(Load(kDemo).ok());
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, Request(1500));
  reader->WaitForInitialMetadata();
  EXPECT_TRUE(Unload("demo", 0).ok());
  EXPECT_TRUE(Load(kDemo).ok());
}

TEST_F(ModelsTest, ABrokenDirectoryIsToldAndTheNextOneLoads) {
  EXPECT_EQ(Load("/no/such/model").error_code(), grpc::StatusCode::NOT_FOUND);
  const std::string broken = testing::TempDir() + "/broken";
  std::filesystem::remove_all(broken);
  std::filesystem::copy(kDemo, broken, std::filesystem::copy_options::recursive);
  for (const auto& file : std::filesystem::directory_iterator(broken)) {
    if (file.path().extension() == ".safetensors") std::filesystem::resize_file(file.path(), 100'000);
  }
  const grpc::Status status = Load(broken);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr(broken));
  EXPECT_THAT(status.error_message(), HasSubstr("data_offsets"));
  EXPECT_TRUE(Load(kDemo).ok());
}

}  // namespace
}  // namespace tandem
