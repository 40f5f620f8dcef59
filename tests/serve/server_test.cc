// The rest of the gRPC front end: jobs, adapters, status, health, reflection, drain and shutdown.
#include <thread>

#include "gmock/gmock.h"
#include "serve/grpc_test_util.h"
#include "tandem/v1/adapters.grpc.pb.h"
#include "tandem/v1/daemon.grpc.pb.h"
#include "tandem/v1/finetuning.grpc.pb.h"
#include "tandem/v1/models.grpc.pb.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ServerTest : public GrpcServerTest {
 protected:
  std::unique_ptr<grpc::ClientReader<v1::JobEvent>> Watch(const std::string& id, int64_t first_event = 0) {
    v1::WatchJobRequest request;
    request.set_id(id);
    request.set_first_event(first_event);
    return fine_tuning_->WatchJob(&context_, request);
  }

  // All the step numbers that a stream brings, and its status.
  std::pair<std::vector<int>, grpc::Status> ReadSteps(grpc::ClientReader<v1::JobEvent>& reader) {
    std::vector<int> steps;
    v1::JobEvent event;
    while (reader.Read(&event)) steps.push_back(event.step().step());
    return {steps, reader.Finish()};
  }

  PeftOptions PeftOf(const v1::Peft& peft);

  grpc::ClientContext context_;
  std::unique_ptr<v1::FineTuning::Stub> fine_tuning_ = v1::FineTuning::NewStub(channel_);
  std::unique_ptr<v1::Adapters::Stub> adapters_ = v1::Adapters::NewStub(channel_);
};

JobEvent Step(int step) {
  return {.kind = JobEventKind::kStep, .state = JobState::kRunning, .step = step, .loss = 1.0 / step};
}

v1::CreateJobRequest SomeJob() {
  v1::CreateJobRequest request;
  request.set_adapter("support");
  request.mutable_data()->set_jsonl("{\"text\": \"a\"}");
  return request;
}

// What the engine is asked for when a job comes with this adapter.
PeftOptions ServerTest::PeftOf(const v1::Peft& peft) {
  v1::CreateJobRequest request = SomeJob();
  *request.mutable_peft() = peft;
  grpc::ClientContext context;
  v1::Job job;
  EXPECT_TRUE(fine_tuning_->CreateJob(&context, request, &job).ok());
  return engine_.fine_tuning.spec().peft;
}

TEST_F(ServerTest, CreateJobCarriesEveryMethod) {
  v1::Peft peft;
  EXPECT_EQ(PeftOf(peft).method, PeftMethod::kLora);
  peft.mutable_lora()->set_use_dora(true);
  peft.mutable_lora()->set_use_rslora(true);
  const PeftOptions dora = PeftOf(peft);
  EXPECT_EQ(dora.method, PeftMethod::kDora);
  EXPECT_EQ(dora.rank_stabilized, true);

  peft.mutable_ia3()->add_target_modules("up_proj");
  peft.mutable_ia3()->add_feedforward_modules("up_proj");
  const PeftOptions ia3 = PeftOf(peft);
  EXPECT_EQ(ia3.method, PeftMethod::kIa3);
  EXPECT_THAT(ia3.target_modules, ElementsAre("up_proj"));
  EXPECT_THAT(ia3.feedforward_modules, ElementsAre("up_proj"));

  peft.mutable_bottleneck()->set_width(5);
  peft.mutable_bottleneck()->set_activation("relu");
  peft.mutable_bottleneck()->add_target_modules("o_proj");
  const PeftOptions bottleneck = PeftOf(peft);
  EXPECT_EQ(bottleneck.method, PeftMethod::kBottleneck);
  EXPECT_EQ(bottleneck.rank, 5);
  EXPECT_EQ(bottleneck.activation, Activation::kRelu);
  EXPECT_THAT(bottleneck.target_modules, ElementsAre("o_proj"));
}

TEST_F(ServerTest, CreateJobCarriesEveryField) {
  v1::CreateJobRequest request = SomeJob();
  request.mutable_data()->set_name("train.jsonl");
  request.set_init_from_adapter("older");
  request.set_publish_every_steps(5);
  request.set_idempotency_key("key");
  v1::Lora& lora = *request.mutable_peft()->mutable_lora();
  lora.set_rank(4);
  lora.set_alpha(12);
  lora.add_target_modules("q_proj");
  v1::Hyperparameters& h = *request.mutable_hyperparameters();
  h.set_max_steps(10);
  h.set_micro_batch(2);
  h.set_gradient_accumulation(3);
  h.set_learning_rate(0.01);
  h.set_schedule(v1::LR_SCHEDULE_LINEAR);
  h.set_warmup_steps(1);
  h.set_weight_decay(0.1);
  h.set_beta1(0.8);
  h.set_beta2(0.95);
  h.set_epsilon(1e-6);
  h.set_max_grad_norm(0.5);
  h.set_max_length(64);
  h.set_loss_mask(v1::LOSS_MASK_ASSISTANT);
  h.set_shuffle(false);
  h.set_seed(3);
  v1::Job job;
  ASSERT_TRUE(fine_tuning_->CreateJob(&context_, request, &job).ok());
  EXPECT_EQ(job.id(), "job-1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_QUEUED);
  EXPECT_FALSE(job.has_started());

  const JobSpec spec = engine_.fine_tuning.spec();
  EXPECT_EQ(spec.adapter_name, "support");
  EXPECT_EQ(spec.data, "{\"text\": \"a\"}");
  EXPECT_EQ(spec.data_name, "train.jsonl");
  EXPECT_EQ(spec.init_from_adapter, "older");
  EXPECT_EQ(spec.publish_every_steps, 5);
  EXPECT_EQ(spec.idempotency_key, "key");
  EXPECT_EQ(spec.peft.rank, 4);
  EXPECT_EQ(spec.peft.alpha, 12);
  EXPECT_THAT(spec.peft.target_modules, ElementsAre("q_proj"));
  EXPECT_EQ(spec.hyperparameters.max_steps, 10);
  EXPECT_EQ(spec.hyperparameters.micro_batch, 2);
  EXPECT_EQ(spec.hyperparameters.gradient_accumulation, 3);
  EXPECT_EQ(spec.hyperparameters.learning_rate, 0.01);
  EXPECT_EQ(spec.hyperparameters.schedule, LrSchedule::kLinear);
  EXPECT_EQ(spec.hyperparameters.warmup_steps, 1);
  EXPECT_EQ(spec.hyperparameters.weight_decay, 0.1);
  EXPECT_EQ(spec.hyperparameters.beta1, 0.8);
  EXPECT_EQ(spec.hyperparameters.beta2, 0.95);
  EXPECT_EQ(spec.hyperparameters.epsilon, 1e-6);
  EXPECT_EQ(spec.hyperparameters.max_grad_norm, 0.5);
  EXPECT_EQ(spec.hyperparameters.max_length, 64);
  EXPECT_EQ(spec.hyperparameters.loss_mask, LossMask::kAssistant);
  EXPECT_FALSE(spec.hyperparameters.shuffle);
  EXPECT_EQ(spec.hyperparameters.seed, 3u);
}

TEST_F(ServerTest, CreateJobRefusesAnUnknownSchedule) {
  v1::CreateJobRequest request = SomeJob();
  request.mutable_hyperparameters()->set_schedule(static_cast<v1::LrSchedule>(9));
  v1::Job job;
  const grpc::Status status = fine_tuning_->CreateJob(&context_, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "schedule is 9, want 1 (constant), 2 (linear) or 3 (cosine)");
}

TEST_F(ServerTest, ALongErrorMessageIsCutToWhatATrailerHolds) {
  engine_.fine_tuning.refusal = absl::InvalidArgumentError(std::string(100'000, '\xff'));
  v1::Job job;
  const grpc::Status status = fine_tuning_->CreateJob(&context_, SomeJob(), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message().size(), 2004u);
}

TEST_F(ServerTest, GetJobOfAnUnknownIdIsNotFound) {
  v1::GetJobRequest request;
  request.set_id("job-2");
  v1::Job job;
  const grpc::Status status = fine_tuning_->GetJob(&context_, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("job-1"));
}

TEST_F(ServerTest, CancelJobAnswersWithTheJob) {
  v1::CancelJobRequest request;
  request.set_id("job-1");
  v1::Job job;
  ASSERT_TRUE(fine_tuning_->CancelJob(&context_, request, &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLING);
}

TEST_F(ServerTest, WatchReplaysFromTheGivenEventAndFollowsToTheEnd) {
  for (int step = 1; step <= 3; ++step) engine_.fine_tuning.Emit(Step(step));
  const auto reader = Watch("job-1", 2);
  engine_.fine_tuning.WaitForWatchers(1);
  engine_.fine_tuning.Emit(Step(4));
  engine_.fine_tuning.End();
  const auto [steps, status] = ReadSteps(*reader);
  EXPECT_THAT(steps, ElementsAre(2, 3, 4));
  EXPECT_TRUE(status.ok());
}

TEST_F(ServerTest, EventsAreTyped) {
  engine_.fine_tuning.Emit({.time = absl::FromUnixSeconds(1000),
                            .kind = JobEventKind::kStateChanged,
                            .state = JobState::kRunning,
                            .message = "started"});
  engine_.fine_tuning.Emit({.kind = JobEventKind::kPublished, .state = JobState::kRunning, .adapter_generation = 2});
  engine_.fine_tuning.Emit({.kind = JobEventKind::kMessage, .state = JobState::kRunning, .message = "note"});
  engine_.fine_tuning.End();
  const auto reader = Watch("job-1");
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.number(), 1);
  EXPECT_EQ(event.time().seconds(), 1000);
  EXPECT_EQ(event.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(event.state_changed().message(), "started");
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.published().adapter_generation(), 2);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.message().message(), "note");
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServerTest, ASlowWatcherGetsEveryEventThroughABoundedMailbox) {
  constexpr int kEvents = 20000;
  const auto reader = Watch("job-1");
  engine_.fine_tuning.WaitForWatchers(1);
  for (int step = 1; step <= kEvents; ++step) engine_.fine_tuning.Emit(Step(step));
  engine_.fine_tuning.End();
  const auto [steps, status] = ReadSteps(*reader);
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(steps.size(), static_cast<size_t>(kEvents));
  for (int i = 0; i < kEvents; ++i) ASSERT_EQ(steps[i], i + 1);
  EXPECT_GT(engine_.fine_tuning.num_watches(), 1) << "the mailbox never filled up: this test shows nothing";
}

TEST_F(ServerTest, AWatcherThatLeavesIsForgotten) {
  const auto reader = Watch("job-1");
  engine_.fine_tuning.WaitForWatchers(1);
  context_.TryCancel();
  engine_.fine_tuning.WaitForWatchers(0);
  reader->Finish();
}

TEST_F(ServerTest, WatchOfAnUnknownJobIsNotFound) {
  EXPECT_EQ(ReadSteps(*Watch("job-7")).second.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, AdaptersAreLoadedListedAndUnloaded) {
  v1::LoadAdapterRequest load;
  load.set_name("support");
  load.set_path("adapters/support");
  v1::Adapter adapter;
  ASSERT_TRUE(adapters_->Load(&context_, load, &adapter).ok());
  EXPECT_EQ(adapter.generation(), 1);

  grpc::ClientContext list_context, unload_context;
  v1::ListAdaptersResponse list;
  ASSERT_TRUE(adapters_->List(&list_context, v1::ListAdaptersRequest(), &list).ok());
  ASSERT_EQ(list.adapters().size(), 1);
  EXPECT_EQ(list.adapters(0).name(), "support");
  EXPECT_EQ(list.adapters(0).path(), "adapters/support");
  EXPECT_THAT(list.adapters(0).target_modules(), ElementsAre("q_proj", "v_proj"));

  v1::UnloadAdapterRequest unload;
  unload.set_name("support");
  v1::UnloadAdapterResponse nothing;
  EXPECT_TRUE(adapters_->Unload(&unload_context, unload, &nothing).ok());
  EXPECT_TRUE(engine_.adapters.ListAdapters().empty());
}

TEST_F(ServerTest, AdapterNamesThatAreNoDirectoriesAreRefused) {
  v1::LoadAdapterRequest load;
  load.set_name("../etc");
  load.set_path("x");
  v1::Adapter adapter;
  const grpc::Status status = adapters_->Load(&context_, load, &adapter);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("name is '../etc'"));
}

TEST_F(ServerTest, StatusTellsOfTheEngine) {
  v1::DaemonStatus status;
  ASSERT_TRUE(v1::Daemon::NewStub(channel_)->GetStatus(&context_, v1::GetStatusRequest(), &status).ok());
  EXPECT_EQ(status.version(), TANDEM_VERSION);
  EXPECT_EQ(status.model().name(), "demo");
  EXPECT_EQ(status.inference().running_requests(), 2);
  EXPECT_EQ(status.kv().blocks_total(), 64);
  EXPECT_FALSE(status.draining());
}

TEST_F(ServerTest, HealthIsServingOnceStarted) {
  EXPECT_EQ(Health(""), "SERVING");
  EXPECT_EQ(Health("tandem.v1.Inference"), "SERVING");
}

TEST_F(ServerTest, ModelsAreListedUnloadedAndLoaded) {
  const auto models = v1::Models::NewStub(channel_);
  grpc::ClientContext list_context, unload_context, get_context, load_context, twice_context, name_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(models->List(&list_context, v1::ListModelsRequest(), &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  EXPECT_EQ(list.models(0).name(), "demo");
  EXPECT_EQ(list.models(0).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(list.models(0).max_context(), 512);

  v1::UnloadModelRequest unload;
  unload.set_name("demo");
  v1::UnloadModelResponse nothing;
  ASSERT_TRUE(models->Unload(&unload_context, unload, &nothing).ok());
  v1::GetModelRequest get;
  get.set_name("demo");
  v1::Model model;
  EXPECT_EQ(models->Get(&get_context, get, &model).error_code(), grpc::StatusCode::NOT_FOUND);

  v1::LoadModelRequest load;
  load.set_path("models/other/");
  ASSERT_TRUE(models->Load(&load_context, load, &model).ok());
  EXPECT_EQ(model.name(), "other");
  EXPECT_EQ(models->Load(&twice_context, load, &model).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  load.set_name("a/b");
  EXPECT_EQ(models->Load(&name_context, load, &model).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, WithoutAModelHealthIsNotServingAndTheStatusHasNone) {
  grpc::ClientContext unload_context;
  v1::UnloadModelRequest unload;
  unload.set_name("demo");
  v1::UnloadModelResponse nothing;
  ASSERT_TRUE(v1::Models::NewStub(channel_)->Unload(&unload_context, unload, &nothing).ok());
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(Health("tandem.v1.Inference"), "NOT_SERVING");
  EXPECT_EQ(Health("tandem.v1.Models"), "SERVING");
  v1::DaemonStatus status;
  ASSERT_TRUE(v1::Daemon::NewStub(channel_)->GetStatus(&context_, v1::GetStatusRequest(), &status).ok());
  EXPECT_FALSE(status.has_model());
  EXPECT_EQ(status.version(), TANDEM_VERSION);
  grpc::ClientContext list_context;
  v1::ListJobsResponse jobs;
  EXPECT_EQ(fine_tuning_->ListJobs(&list_context, v1::ListJobsRequest(), &jobs).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  // ServerReflectionRequest{list_services: "*"}
  const auto [response, status] =
      RawCall("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*");
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (const char* name :
       {"tandem.v1.Inference", "tandem.v1.FineTuning", "tandem.v1.Adapters", "tandem.v1.Models", "tandem.v1.Daemon"}) {
    EXPECT_THAT(response, HasSubstr(name));
  }
}

TEST_F(ServerTest, DrainRefusesNewWorkEndsWatchesAndLetsGenerationsFinish) {
  const auto inference = v1::Inference::NewStub(channel_);
  grpc::ClientContext running_context, refused_context, create_context;
  const auto running = inference->Generate(&running_context, TextRequest("hi"));
  const FakeInference::Running request = engine_.inference.WaitForRequest();
  const auto watch = Watch("job-1");
  engine_.fine_tuning.WaitForWatchers(1);

  server_->BeginDrain();
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(Health("tandem.v1.Inference"), "NOT_SERVING");
  EXPECT_EQ(ReadSteps(*watch).second.error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::GenerateResponse response;
  const auto refused = inference->Generate(&refused_context, TextRequest("hi"));
  EXPECT_FALSE(refused->Read(&response));
  EXPECT_EQ(refused->Finish().error_message(), "tandemd is shutting down");
  v1::Job job;
  EXPECT_EQ(fine_tuning_->CreateJob(&create_context, SomeJob(), &job).error_code(), grpc::StatusCode::UNAVAILABLE);

  request.sink->OnEnd({.status = absl::OkStatus(), .reason = FinishReason::kStop});
  EXPECT_TRUE(running->Read(&response));
  EXPECT_FALSE(running->Read(&response));
  EXPECT_TRUE(running->Finish().ok());
}

TEST_F(ServerTest, ShutdownCancelsWhatDoesNotEnd) {
  grpc::ClientContext context;
  const auto reader = v1::Inference::NewStub(channel_)->Generate(&context, TextRequest("hi"));
  const std::string id = engine_.inference.WaitForRequest().request.request_id;
  server_->Shutdown(absl::ZeroDuration());  // returns only once every call has ended
  EXPECT_EQ(engine_.inference.WaitForAbort(), id);
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(ServerTest, ATakenPortIsRefusedWithTheReason) {
  GrpcServerOptions options;
  options.port = server_->port();
  const absl::Status status = GrpcServer::Start(options, engine_.host()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "cannot listen on 127.0.0.1:" + std::to_string(options.port) + ": Address already in use");
}

TEST_F(ServerTest, AnAddressThatIsNotOursIsRefusedWithTheReason) {
  GrpcServerOptions options;
  options.address = "192.0.2.1";  // TEST-NET-1: nobody's
  options.port = 0;
  EXPECT_THAT(std::string(GrpcServer::Start(options, engine_.host()).status().message()),
              HasSubstr("cannot listen on 192.0.2.1:0: Cannot assign requested address"));
}

}  // namespace
}  // namespace tandem
