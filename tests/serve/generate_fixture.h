// Inference.Generate on a server over fakes: a call, and what the engine's sink is told of it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "serve/grpc_test_util.h"

namespace tandem {

class GenerateTest : public GrpcServerTest {
 protected:
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> Start(const v1::GenerateRequest& request) {
    return stub_->Generate(&context_, request);
  }
  grpc::Status Refusal(const v1::GenerateRequest& request) {
    const auto reader = Start(request);
    v1::GenerateResponse response;
    EXPECT_FALSE(reader->Read(&response));
    return reader->Finish();
  }

  grpc::ClientContext context_;
  std::unique_ptr<v1::Inference::Stub> stub_ = v1::Inference::NewStub(channel_);
};

inline GenerationUpdate Update(std::vector<int32_t> tokens, std::string text, int completion_tokens) {
  return {.token_ids = std::move(tokens),
          .text = std::move(text),
          .usage = {.prompt_tokens = 3, .completion_tokens = completion_tokens}};
}

}  // namespace tandem
