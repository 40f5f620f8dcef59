// 2,000 streams at once through gRPC on this machine's loopback, against the real engine on the demo model: clients
// cancel at random, and afterwards every KV block is free and no thread is left over.
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <future>
#include <random>

#include "gtest/gtest.h"
#include "serve/engine_model.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {
namespace {

constexpr int kStreams = 2000;
constexpr int kMaxExtraThreads = 40;  // gRPC's pools for both sides, ours; none of them grows with the streams

int NumThreads() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int threads = 0;
  while (status >> word) {
    if (word == "Threads:") status >> threads;
  }
  return threads;
}

// Reads to the end, or cancels after so many messages.
class Reader final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Reader(v1::Inference::Stub& stub, const v1::GenerateRequest& request, int cancel_after)
      : cancel_after_(cancel_after) {
    stub.async()->Generate(&context_, &request, this);
    StartRead(&response_);
    StartCall();
    if (cancel_after_ == 0) context_.TryCancel();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    tokens_ += response_.token_ids_size();
    if (++messages_ == cancel_after_) context_.TryCancel();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }
  grpc::Status Wait() { return done_.get_future().get(); }
  int tokens() const { return tokens_; }

 private:
  const int cancel_after_;  // messages; -1: never
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  int messages_ = 0, tokens_ = 0;
  std::promise<grpc::Status> done_;
};

TEST(StreamsTest, TwoThousandWithRandomCancellationsLeaveNothingBehind) {
  EngineOptions options;
  options.threads = 2;
  options.kv_capacity_tokens = 4096;
  options.inference.max_waiting = kStreams;
  options.adapters_directory = testing::TempDir() + "/adapters";
  ModelHost models(EngineLoader(options), absl::Seconds(20));
  const auto loaded = LoadAndWait(models, {std::string(TANDEM_SOURCE_DIR) + "/models/demo", "demo"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  auto server = GrpcServer::Start({.port = 0}, &models);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials());
  const auto stub = v1::Inference::NewStub(channel);

  constexpr int kTokens = 4;
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(5);
  request.mutable_tokens()->add_ids(7);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(kTokens);
  request.mutable_stopping()->set_ignore_eos(true);
  std::mt19937 random(42);
  const int threads_before = NumThreads();
  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<int> cancel_after;
  for (int i = 0; i < kStreams; ++i) {
    cancel_after.push_back(random() % 2 == 0 ? -1 : static_cast<int>(random() % 3));
    readers.push_back(std::make_unique<Reader>(*stub, request, cancel_after.back()));
  }
  EXPECT_LE(NumThreads() - threads_before, kMaxExtraThreads);
  for (int i = 0; i < kStreams; ++i) {
    const grpc::Status status = readers[i]->Wait();
    if (cancel_after[i] < 0) {
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(readers[i]->tokens(), kTokens);
    } else {
      // The last message may have been on its way already.
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
    }
  }
  EXPECT_LE(NumThreads() - threads_before, kMaxExtraThreads);
  (*server)->BeginDrain();
  models.Drain(absl::Seconds(20));
  (*server)->Shutdown(absl::Seconds(5));
  const EngineStatus status = *models.Info()->engine;
  EXPECT_EQ(status.running_requests, 0);
  EXPECT_EQ(status.waiting_requests, 0);
  EXPECT_EQ(status.kv_blocks_used, 0);
}

}  // namespace
}  // namespace tandem
