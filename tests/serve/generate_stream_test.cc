// Inference.Generate over the wire: streaming, ends, cancellation, slow and many readers.
#include <atomic>
#include <cmath>
#include <fstream>

#include "gmock/gmock.h"
#include "serve/generate_fixture.h"
#include "serve/grpc/generate_stream.h"
#include "serve/grpc/wire.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GenerateTest, StreamsTokensAsTheyComeAndEndsWithTheReason) {
  const auto reader = Start(TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  v1::GenerateResponse response;
  running.sink->OnUpdate(Update({10, 11}, "ab", 2));
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_THAT(response.token_ids(), ElementsAre(10, 11));
  EXPECT_EQ(response.text(), "ab");
  EXPECT_EQ(response.usage().prompt_tokens(), 3);
  EXPECT_EQ(response.usage().completion_tokens(), 2);
  EXPECT_EQ(response.seed(), 4711u);
  EXPECT_EQ(response.request_id(), running.request.request_id);
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_UNSPECIFIED);

  running.sink->OnEnd({.status = absl::OkStatus(),
                       .reason = FinishReason::kLength,
                       .usage = {.prompt_tokens = 3, .completion_tokens = 2},
                       .adapter_generation = 7,
                       .text = "c"});
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.text(), "c");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.adapter_generation(), 7);
  EXPECT_EQ(response.usage().completion_tokens(), 2);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerateTest, EveryFieldOfTheRequestArrives) {
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(5);
  request.set_adapter("support");
  request.mutable_sampling()->set_temperature(0.5f);
  request.mutable_sampling()->set_top_k(40);
  request.mutable_sampling()->set_top_p(0.9f);
  request.mutable_sampling()->set_seed(12);
  request.mutable_stopping()->set_max_tokens(7);
  request.mutable_stopping()->add_stop("END");
  request.mutable_stopping()->add_stop_token_ids(99);
  request.mutable_stopping()->set_ignore_eos(true);
  request.set_skip_special_tokens(false);
  const auto reader = Start(request);
  const GenerateRequest got = engine_.inference.WaitForRequest().request;
  EXPECT_THAT(got.prompt, ElementsAre(5));
  EXPECT_EQ(got.adapter, "support");
  EXPECT_EQ(got.sampling.temperature, 0.5f);
  EXPECT_EQ(got.sampling.top_k, 40);
  EXPECT_EQ(got.sampling.top_p, 0.9f);
  EXPECT_EQ(got.sampling.seed, 12u);
  EXPECT_EQ(got.stop.max_tokens, 7);
  EXPECT_THAT(got.stop.stop, ElementsAre("END"));
  EXPECT_THAT(got.stop.stop_token_ids, ElementsAre(99));
  EXPECT_FALSE(got.skip_special_tokens);
  EXPECT_EQ(got.deadline, absl::InfiniteFuture());
  context_.TryCancel();
  reader->Finish();
}

TEST_F(GenerateTest, TheStructureArrivesCompiled) {
  v1::GenerateRequest request = TextRequest("hi");
  request.set_json_schema(R"({"type":"integer"})");
  const auto reader = Start(request);
  EXPECT_NE(engine_.inference.WaitForRequest().request.structure, nullptr);
  context_.TryCancel();
  reader->Finish();
}

TEST_F(GenerateTest, EverySamplingFieldArrives) {
  v1::GenerateRequest request = TextRequest("hi");
  v1::Sampling& sampling = *request.mutable_sampling();
  sampling.set_min_p(0.25f);
  sampling.set_typical_p(0.5f);
  sampling.set_presence_penalty(1.5f);
  sampling.set_frequency_penalty(-0.5f);
  sampling.set_repetition_penalty(1.25f);
  (*sampling.mutable_logit_bias())[7] = -3;
  (*sampling.mutable_logit_bias())[2] = 4;
  sampling.add_allowed_token_ids(5);
  sampling.add_bad_words("x");
  sampling.add_bad_token_sequences()->add_ids(8);
  request.mutable_stopping()->set_min_tokens(3);
  request.mutable_stopping()->set_include_stop_str_in_output(true);
  request.set_logprobs(2);
  request.set_prompt_logprobs(0);
  const auto reader = Start(request);
  const GenerateRequest got = engine_.inference.WaitForRequest().request;
  EXPECT_EQ(got.sampling.min_p, 0.25f);
  EXPECT_EQ(got.sampling.typical_p, 0.5f);
  EXPECT_EQ(got.sampling.presence_penalty, 1.5f);
  EXPECT_EQ(got.sampling.frequency_penalty, -0.5f);
  EXPECT_EQ(got.sampling.repetition_penalty, 1.25f);
  const TokenRules& rules = *got.sampling.rules;
  ASSERT_EQ(rules.logit_bias.size(), 2u);
  EXPECT_EQ(rules.logit_bias[0].token, 2);
  EXPECT_EQ(rules.logit_bias[1].bias, -3);
  EXPECT_THAT(rules.allowed_token_ids, ElementsAre(5));
  EXPECT_EQ(rules.bad_words.size(), 3u);
  EXPECT_EQ(got.stop.min_tokens, 3);
  EXPECT_TRUE(got.stop.include_stop_in_text);
  EXPECT_EQ(got.sampling.num_logprobs, 2);
  EXPECT_EQ(got.prompt_logprobs, 0);
  context_.TryCancel();
  reader->Finish();
}

TEST_F(GenerateTest, ANotANumberInLogitBiasIsRefusedOverTheWire) {
  v1::GenerateRequest request = TextRequest("hi");
  (*request.mutable_sampling()->mutable_logit_bias())[7] = std::nanf("");
  const grpc::Status status = Refusal(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "logit_bias of token 7 is nan, want -100 to 100");
}

TEST_F(GenerateTest, TheClientsDeadlineReachesTheEngine) {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::hours(10);
  context_.set_deadline(deadline);
  const auto reader = Start(TextRequest("hi"));
  const absl::Time got = engine_.inference.WaitForRequest().request.deadline;
  // The wire carries the time that is left, rounded, and takes some itself.
  EXPECT_LT(absl::AbsDuration(got - absl::FromChrono(deadline)), absl::Minutes(10));
  context_.TryCancel();
  reader->Finish();
}

TEST_F(GenerateTest, CancellationAborts) {
  const auto reader = Start(TextRequest("hi"));
  const std::string id = engine_.inference.WaitForRequest().request.request_id;
  context_.TryCancel();
  EXPECT_EQ(engine_.inference.WaitForAbort(), id);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(GenerateTest, ACancelledRequestThatIsRefusedAbortsNobody) {
  v1::GenerateRequest request = TextRequest("hi");
  request.set_request_id("mine");
  const grpc::ByteBuffer bytes = ToBytes(request);
  engine_.inference.refusal = absl::AlreadyExistsError("a request 'mine' runs");
  engine_.inference.on_refusal = [](GenerationSink& sink) { dynamic_cast<GenerateStream&>(sink).OnCancel(); };
  GenerateStream* stream = nullptr;
  {
    CallContext shared(engine_.host(), {}, 1, 0);  // its end waits for the call
    const grpc::CallbackServerContext context;
    stream = GenerateStream::Create(&shared, context, &bytes);
  }
  EXPECT_THAT(engine_.inference.aborted(), ElementsAre());
  stream->OnDone();
}

TEST_F(GenerateTest, AClientThatVanishesAborts) {
  auto context = std::make_unique<grpc::ClientContext>();
  auto reader = stub_->Generate(context.get(), TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  running.sink->OnUpdate(Update({1}, "a", 1));
  reader.reset();
  context.reset();
  EXPECT_EQ(engine_.inference.WaitForAbort(), running.request.request_id);
}

TEST_F(GenerateTest, TheEnginesRefusalIsTheStatus) {
  engine_.inference.refusal = absl::NotFoundError("no adapter 'suport'; did you mean 'support'?");
  const grpc::Status status = Refusal(TextRequest("hi"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no adapter 'suport'; did you mean 'support'?");
}

TEST_F(GenerateTest, InvalidValuesAreRefused) {
  v1::GenerateRequest request = TextRequest("hi");
  request.mutable_sampling()->set_temperature(-1);
  const grpc::Status status = Refusal(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "temperature is -1, want 0 to 100");
}

TEST_F(GenerateTest, AnErrorAfterTokensComesAfterThem) {
  const auto reader = Start(TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  running.sink->OnUpdate(Update({1}, "a", 1));
  running.sink->OnEnd({.status = absl::DeadlineExceededError("too late"), .reason = FinishReason::kCancelled});
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.text(), "a");
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

// OnUpdate is the step thread's: here it runs on this one, and would hang if it waited for the reader.
TEST_F(GenerateTest, ASlowReaderNeitherBlocksTheStepThreadNorLosesTokens) {
  constexpr int kSteps = 20000;  // 4 MB of text: far more than the transport's own windows
  const auto reader = Start(TextRequest("hi"));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  const std::string piece(200, 'x');
  for (int step = 1; step <= kSteps; ++step) running.sink->OnUpdate(Update({step}, piece, step));
  running.sink->OnEnd({.status = absl::OkStatus(), .reason = FinishReason::kStop});
  v1::GenerateResponse response;
  int messages = 0, tokens = 0;
  size_t text_bytes = 0;
  while (reader->Read(&response)) {
    ++messages;
    EXPECT_LT(response.ByteSizeLong(), 100'000u) << "clients take 4 MB at most, by default";
    for (const int32_t token : response.token_ids()) EXPECT_EQ(token, ++tokens);
    text_bytes += response.text().size();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, kSteps);
  EXPECT_EQ(text_bytes, kSteps * piece.size());
  EXPECT_LT(messages, kSteps / 2) << "updates are merged while the reader is away";
}

int NumThreads() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  }
  return -1;
}

class CountingReader : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  CountingReader(v1::Inference::Stub& stub, const v1::GenerateRequest& request) {
    stub.async()->Generate(&context_, &request, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok) StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }
  grpc::Status Wait() { return done_.get_future().get(); }

 private:
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  std::promise<grpc::Status> done_;
};

TEST_F(GenerateTest, AThousandStreamsNeedNoThousandThreads) {
  constexpr size_t kStreams = 1000;
  const int threads_before = NumThreads();
  const v1::GenerateRequest request = TextRequest("hi");
  std::vector<std::unique_ptr<CountingReader>> readers;
  for (size_t i = 0; i < kStreams; ++i) readers.push_back(std::make_unique<CountingReader>(*stub_, request));
  const std::vector<FakeInference::Running> running = engine_.inference.WaitForRequests(kStreams);
  for (const FakeInference::Running& stream : running) stream.sink->OnUpdate(Update({1}, "a", 1));
  EXPECT_LT(NumThreads() - threads_before, 50);
  for (const FakeInference::Running& stream : running) {
    stream.sink->OnEnd({.status = absl::OkStatus(), .reason = FinishReason::kStop});
  }
  for (const std::unique_ptr<CountingReader>& reader : readers) EXPECT_TRUE(reader->Wait().ok());
}

TEST_F(GenerateTest, TextThatIsNotUtf8IsRefusedWithAReason) {
  // GenerateRequest{text: "\xff"}: field 1, two bytes of which the last is no UTF-8.
  const grpc::Status status = RawCall("/tandem.v1.Inference/Generate",
                                      "\x0a\x02"
                                      "a\xff")
                                  .second;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no valid tandem.v1.GenerateRequest"));
}

TEST_F(GenerateTest, MalformedBytesAreRefusedWithAReason) {
  const grpc::Status status = RawCall("/tandem.v1.Inference/Generate", "\xff\xff\xff\xff").second;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("malformed"));
}

TEST_F(GenerateTest, AnOversizedRequestIsRefused) {
  const grpc::Status status = Refusal(TextRequest(std::string(2 << 20, 'x')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace tandem
