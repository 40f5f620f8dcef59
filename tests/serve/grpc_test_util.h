// A server on a free port over fakes, and raw calls for what has no generated stub here (health, reflection, nonsense).
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

class GrpcServerTest : public testing::Test {
 protected:
  GrpcServerTest() {
    GrpcServerOptions options;
    options.port = 0;
    options.max_message_bytes = 1 << 20;
    auto server = GrpcServer::Start(options, engine_.host());
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
  }

  std::shared_ptr<grpc::Channel> NewChannel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  // One call of any method with raw bytes; the first response and the status.
  std::pair<std::string, grpc::Status> RawCall(const std::string& method, const std::string& request) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTestPatience);
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    const auto call = stub.PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    next();
    const grpc::Slice slice(request);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    next();
    std::string response;
    grpc::ByteBuffer bytes;
    call->Read(&bytes, nullptr);
    if (next()) {
      std::vector<grpc::Slice> slices;
      bytes.Dump(&slices);
      for (const grpc::Slice& part : slices) response.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    next();
    queue.Shutdown();
    while (next()) {
    }
    return {response, status};
  }

  // grpc.health.v1: "SERVING", "NOT_SERVING" or the status.
  std::string Health(const std::string& service) {
    const std::string request = "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
    const auto [response, status] = RawCall("/grpc.health.v1.Health/Check", service.empty() ? "" : request);
    if (!status.ok()) return status.error_message();
    return response == "\x08\x01" ? "SERVING" : response == "\x08\x02" ? "NOT_SERVING" : "unknown answer";
  }

  FakeEngine engine_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

inline v1::GenerateRequest TextRequest(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  return request;
}

}  // namespace tandem
