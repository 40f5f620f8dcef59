// Inference.Embed over the wire: inputs, answer, errors and cancellation.
#include <atomic>
#include <future>

#include "gmock/gmock.h"
#include "serve/grpc/embed_call.h"
#include "serve/grpc/wire.h"
#include "serve/grpc_test_util.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

class EmbedTest : public GrpcServerTest {
 protected:
  v1::EmbedRequest Texts(const std::vector<std::string>& texts) {
    v1::EmbedRequest request;
    for (const std::string& text : texts) request.add_inputs()->set_text(text);
    return request;
  }
  // The call goes on beside the test.
  std::future<grpc::Status> Start(const v1::EmbedRequest& request) {
    return std::async(std::launch::async, [this, request] { return stub_->Embed(&context_, request, &response_); });
  }
  static GenerationEnd End(std::vector<float> embedding, int tokens) {
    return {.usage = {.prompt_tokens = tokens}, .adapter_generation = 2, .embedding = std::move(embedding)};
  }

  grpc::ClientContext context_;
  v1::EmbedResponse response_;
  std::unique_ptr<v1::Inference::Stub> stub_ = v1::Inference::NewStub(channel_);
};

TEST_F(EmbedTest, InputsBecomeRequestsAndTheirVectorsTheAnswer) {
  v1::EmbedRequest request = Texts({"hi", "you"});
  request.add_inputs()->mutable_tokens()->add_ids(7);
  request.set_pooling(v1::EMBEDDING_POOLING_MEAN);
  request.set_normalize(false);
  request.set_request_id("mine");
  request.set_tenant("t");
  auto status = Start(request);
  const auto running = engine_.inference.WaitForRequests(3);
  EXPECT_EQ(running[0].request.pooling, Pooling::kMean);
  EXPECT_EQ(running[1].request.request_id, "mine#1");
  EXPECT_EQ(running[1].request.tenant, "t");
  EXPECT_THAT(running[2].request.prompt, ElementsAre(7));
  for (int i = 2; i >= 0; --i) running[i].sink->OnEnd(End({i + 0.5f, 2}, 10 + i));
  EXPECT_TRUE(status.get().ok());
  ASSERT_EQ(response_.embeddings_size(), 3);
  EXPECT_THAT(response_.embeddings(1).values(), ElementsAre(1.5f, 2));
  EXPECT_EQ(response_.embeddings(1).tokens(), 11);
  EXPECT_EQ(response_.usage().prompt_tokens(), 33);
  EXPECT_EQ(response_.adapter_generation(), 2);
  EXPECT_EQ(response_.request_id(), "mine");
}

TEST_F(EmbedTest, TheDefaultIsTheLastTokenOfLengthOne) {
  auto status = Start(Texts({"hi"}));
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  EXPECT_EQ(running.request.pooling, Pooling::kLastToken);
  running.sink->OnEnd(End({3, 4}, 2));
  EXPECT_TRUE(status.get().ok());
  EXPECT_THAT(response_.embeddings(0).values(), ElementsAre(0.6f, 0.8f));
}

TEST_F(EmbedTest, AnInputThatFailsEndsTheCallAndAbortsTheOthers) {
  auto status = Start(Texts({"hi", "you"}));
  const auto running = engine_.inference.WaitForRequests(2);
  running[0].sink->OnEnd({.status = absl::InternalError("broken"), .reason = FinishReason::kCancelled});
  const grpc::Status ended = status.get();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(ended.error_message(), "inputs[0]: broken");
  const std::vector<std::string> aborted = engine_.inference.aborted();
  // Twice where the end comes while the call is still starting its inputs: the engine passes over the second.
  EXPECT_GE(std::count(aborted.begin(), aborted.end(), running[1].request.request_id), 1);
}

TEST_F(EmbedTest, CancellationAborts) {
  auto status = Start(Texts({"hi"}));
  const std::string id = engine_.inference.WaitForRequest().request.request_id;
  context_.TryCancel();
  EXPECT_EQ(engine_.inference.WaitForAbort(), id);
  EXPECT_EQ(status.get().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(EmbedTest, WhatIsCancelledBeforeItBeginsIsNotBegun) {
  const grpc::ByteBuffer bytes = ToBytes(Texts({"hi"}));
  grpc::ByteBuffer out;
  std::atomic<int> begun = 0;
  engine_.inference.on_generate = [&](const FakeInference::Running& running) {
    ++begun;
    running.sink->OnEnd(End({1}, 1));
  };
  EmbedCall* call = nullptr;
  std::promise<void> cancelled;
  {
    CallContext shared(engine_.host(), {}, 1, 0);  // its end waits for the call
    const grpc::CallbackServerContext context;
    shared.calls.Post([went = cancelled.get_future().share()] { went.wait(); });
    call = EmbedCall::Create(&shared, context, &bytes, &out);
    call->OnCancel();
    cancelled.set_value();
  }
  EXPECT_EQ(begun, 0);
  call->OnDone();
}

TEST_F(EmbedTest, RefusalsHaveGotAndWant) {
  EXPECT_EQ(Start(Texts({})).get().error_message(), "the number of inputs is 0, want 1 to 256");
}

TEST_F(EmbedTest, APoolingThatThereIsNotIsRefused) {
  v1::EmbedRequest request = Texts({"hi"});
  request.set_pooling(static_cast<v1::EmbeddingPooling>(7));
  EXPECT_EQ(Start(request).get().error_message(), "pooling is 7, want 1 (last) or 2 (mean)");
}

TEST_F(EmbedTest, TheEnginesRefusalIsTheStatus) {
  engine_.inference.refusal = absl::NotFoundError("no adapter 'x'");
  const grpc::Status status = Start(Texts({"hi"})).get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "inputs[0]: no adapter 'x'");
}

}  // namespace
}  // namespace tandem
