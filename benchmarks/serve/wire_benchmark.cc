// What the wire costs: tokens per second of the engine called in its own process, and of the same engine through gRPC
// on this machine's loopback, client included.
//
//   wire_benchmark MODEL [--threads 2] [--rounds 7] [--streams 8] [--prompt 8] [--tokens 64]
//
// Each round runs both, one after the other and in turns, on the same prompts; figures are medians, the cost is the
// median of the rounds' ratios. The client shares the cores with the engine: on a machine of its own it costs less.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "base/check.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "serve/grpc/server.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem::wirebench {
namespace {

struct Shape {
  int streams = 8, prompt = 8, tokens = 64;
};

class CountingSink final : public GenerationSink {
 public:
  void OnUpdate(GenerationUpdate update) override { tokens += update.token_ids.size(); }
  void OnEnd(GenerationEnd end) override {
    CHECK(end.status.ok()) << end.status.ToString();
    done.Notify();
  }
  size_t tokens = 0;
  absl::Notification done;
};

class CountingReader final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  CountingReader(v1::Inference::Stub& stub, const v1::GenerateRequest& request) : request_(request) {
    stub.async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    tokens += static_cast<size_t>(response_.token_ids_size());
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    CHECK(status.ok()) << status.error_message();
    done.Notify();
  }
  size_t tokens = 0;
  absl::Notification done;

 private:
  const v1::GenerateRequest request_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
};

std::vector<int32_t> Prompt(const Shape& shape, int vocab, int round, int stream) {
  std::vector<int32_t> ids;
  for (int i = 0; i < shape.prompt; ++i) ids.push_back((7919 * (round + 2) + 104729 * stream + 31 * i) % vocab);
  return ids;
}

// Tokens per second from the first call to the last end.
template <typename Call>
double Rate(const Shape& shape, const std::function<std::shared_ptr<Call>(int stream)>& start) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < shape.streams; ++i) calls.push_back(start(i));
  size_t tokens = 0;
  for (const auto& call : calls) {
    call->done.WaitForNotification();
    tokens += call->tokens;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  CHECK_EQ(tokens, static_cast<size_t>(shape.streams) * shape.tokens);
  return static_cast<double>(tokens) / seconds;
}

double Direct(ModelHost& host, const Shape& shape, int round) {
  const ModelLease model = *host.Lease();
  return Rate<CountingSink>(shape, [&](int stream) {
    GenerationInput input;
    input.prompt = Prompt(shape, model->parts.model.vocab, round, stream);
    input.max_tokens = shape.tokens;
    input.temperature = 0.0f;
    input.ignore_eos = true;
    auto request = model->generation.Resolve(input);
    CHECK(request.ok()) << request.status().ToString();
    auto sink = std::make_shared<CountingSink>();
    CHECK(model->generation.Start(*std::move(request), sink).ok());
    return sink;
  });
}

double OverGrpc(v1::Inference::Stub& stub, int vocab, const Shape& shape, int round) {
  return Rate<CountingReader>(shape, [&](int stream) {
    v1::GenerateRequest request;
    for (const int32_t id : Prompt(shape, vocab, round, stream)) request.mutable_tokens()->add_ids(id);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(shape.tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    return std::make_shared<CountingReader>(stub, request);
  });
}

std::string Spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return absl::StrFormat("%.3f [%.3f - %.3f]", values[values.size() / 2], values.front(), values.back());
}

int Main(int argc, char** argv) {
  CLI::App app{"What gRPC on this machine's loopback costs.", "wire_benchmark"};
  Config config;
  Shape shape;
  int rounds = 7;
  config.engine.threads = 2;
  config.kv.prefix_cache = false;  // both halves of a round compute their prompts
  app.add_option("MODEL", config.model.path, "A Hugging Face directory")->required();
  app.add_option("--threads", config.engine.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--streams", shape.streams)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--prompt", shape.prompt, "tokens")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--tokens", shape.tokens, "of each stream")->check(CLI::Range(1, 100000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  CHECK(InitLogging("warn").ok());

  ModelHost host(
      [&](const ModelSource& source, const LoadProgress& progress) { return LoadModel(config, source, progress); },
      absl::Seconds(1));
  absl::Notification loaded;
  host.Load({config.model.path, "model"}, [&](const absl::StatusOr<ModelInfo>& model) {
    CHECK(model.ok()) << model.status().ToString();
    loaded.Notify();
  });
  loaded.WaitForNotification();
  const auto server = GrpcServer::Start({.port = 0}, &host);
  CHECK(server.ok()) << server.status().ToString();
  const auto stub = v1::Inference::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials()));
  const int vocab = host.Lease().value()->parts.model.vocab;
  std::cout << absl::StrFormat("%s on %s: %d streams, %d tokens in, %d out, %d rounds\n", config.model.path,
                               host.Info()->engine->backend, shape.streams, shape.prompt, shape.tokens, rounds);
  std::vector<double> direct, wire, ratios;
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    const bool wire_first = round % 2 != 0;
    const double first = wire_first ? OverGrpc(*stub, vocab, shape, round) : Direct(host, shape, round);
    const double second = wire_first ? Direct(host, shape, round) : OverGrpc(*stub, vocab, shape, round);
    if (round < 0) continue;
    direct.push_back(wire_first ? second : first);
    wire.push_back(wire_first ? first : second);
    ratios.push_back(wire.back() / direct.back());
  }
  std::cout << "engine       " << Spread(direct) << " tok/s\n"
            << "through gRPC " << Spread(wire) << " tok/s\n"
            << "ratio        " << Spread(ratios) << "\n";
  return 0;
}

}  // namespace
}  // namespace tandem::wirebench

int main(int argc, char** argv) {
  return tandem::wirebench::Main(argc, argv);
}
