// Who may call: keys, certificates, owners of requests; over the wire, and the rules by themselves.
#include <google/protobuf/descriptor.h>

#include <cstdlib>

#include "base/file.h"
#include "gmock/gmock.h"
#include "serve/core/access.h"
#include "serve/grpc/services.h"
#include "serve/grpc_test_util.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<ApiKey> kKeys = {{"alice", "alice-0123456789abcdef"}, {"bob", "bob-0123456789abcdef"}};

TEST(ApiKeysTest, AreFoundByTheirWholeTextOnly) {
  EXPECT_EQ(FindApiKey(kKeys, "bob-0123456789abcdef")->name, "bob");
  for (const char* wrong : {"", "b", "bob-0123456789abcde", "bob-0123456789abcdeg", "bob-0123456789abcdefbob"}) {
    EXPECT_EQ(FindApiKey(kKeys, wrong), nullptr) << wrong;
  }
}

TEST(ApiKeysTest, AreReadFromAFileOfLines) {
  const std::string path = testing::TempDir() + "/keys";
  ASSERT_TRUE(
      WriteFileAtomically(path, "# who calls\n\nalice alice-0123456789abcdef\nbob\tbob-0123456789abcdef\n").ok());
  const auto keys = ReadApiKeys(path);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(*keys, kKeys);
}

TEST(ApiKeysTest, WeakDoubledAndNamelessOnesAreRefusedWithoutTellingThem) {
  const auto refusal = [](const std::vector<ApiKey>& keys) {
    return std::string(CheckApiKeys("auth.api_keys", keys).message());
  };
  EXPECT_THAT(refusal({{"a", "short"}}), HasSubstr("auth.api_keys[0] (a) has 5 bytes, want 16"));
  EXPECT_THAT(refusal({kKeys[0], {"carol", kKeys[0].key}}), HasSubstr("[1] (carol) has the name or the key of alice"));
  EXPECT_THAT(refusal({{"", kKeys[0].key}}), HasSubstr("auth.api_keys[0].name"));
  EXPECT_EQ(refusal({kKeys[0], {"carol", kKeys[0].key}}).find(kKeys[0].key), std::string::npos);
}

TEST(RequestIdTest, RefusesWhatCouldBeAnothers) {
  EXPECT_TRUE(CheckRequestId("chat.7:a_b-C").ok());
  for (const char* bad : {"", "a/b", "gen-1", "a b"}) EXPECT_FALSE(CheckRequestId(bad).ok()) << bad;
  EXPECT_FALSE(CheckRequestId(std::string(65, 'x')).ok());
}

// A server that asks for keys.
class AccessTest : public GrpcServerTest {
 protected:
  AccessTest() { Restart({.port = 0, .api_keys = kKeys}); }

  void Restart(const GrpcServerOptions& options) {
    server_.reset();
    auto server = GrpcServer::Start(options, engine_.host());
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
  }

  // One unary call with these authorization headers.
  grpc::Status Status(const std::vector<std::string>& headers) {
    grpc::ClientContext context;
    for (const std::string& header : headers) context.AddMetadata("authorization", header);
    v1::TokenizeRequest request;
    request.set_text("ab");
    v1::TokenizeResponse response;
    return v1::Inference::NewStub(channel_)->Tokenize(&context, request, &response);
  }
};

TEST_F(AccessTest, EveryMethodOfEveryServiceWantsAKey) {
  int methods = 0;
  std::vector<std::string> names = ModelServiceNames();
  for (const std::string& name : DaemonServiceNames()) names.push_back(name);
  for (const std::string& name : names) {
    const auto* const service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      const grpc::Status status = RawCall("/" + name + "/" + service->method(i)->name(), "").second;
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << name << " " << service->method(i)->name();
      EXPECT_THAT(status.error_message(), HasSubstr("no API key"));
      ++methods;
    }
  }
  EXPECT_GE(methods, 17);
}

TEST_F(AccessTest, HealthAnswersAnybodyAndReflectionNobody) {
  EXPECT_EQ(Health(""), "SERVING");
  const grpc::Status status =
      RawCall("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*").second;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(AccessTest, OneGoodKeyIsEnoughAndAllElseIsRefused) {
  EXPECT_TRUE(Status({"Bearer " + kKeys[0].key}).ok());
  EXPECT_TRUE(Status({"bearer " + kKeys[1].key}).ok());
  EXPECT_THAT(Status({"Bearer nonsense"}).error_message(), HasSubstr("not one of this daemon's"));
  EXPECT_THAT(Status({"Basic " + kKeys[0].key}).error_message(), HasSubstr("want 'Bearer KEY'"));
  EXPECT_THAT(Status({"Bearer x", "Bearer " + kKeys[0].key}).error_message(), HasSubstr("several"));
}

TEST_F(AccessTest, OnlyTheOwnerAbortsARequest) {
  const auto stub = v1::Inference::NewStub(channel_);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + kKeys[0].key);
  v1::GenerateRequest request = TextRequest("hi");
  request.set_request_id("mine");
  const auto reader = stub->Generate(&context, request);
  const FakeInference::Running running = engine_.inference.WaitForRequest();
  EXPECT_EQ(running.request.request_id, "alice/mine");
  running.sink->OnUpdate({.token_ids = {1}, .text = "a", .usage = {3, 1}});
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.request_id(), "mine");

  v1::AbortRequest abort;
  abort.set_request_id("mine");
  v1::AbortResponse aborted;
  for (const ApiKey& key : {kKeys[1], kKeys[0]}) {
    grpc::ClientContext abort_context;
    abort_context.AddMetadata("authorization", "Bearer " + key.key);
    EXPECT_TRUE(stub->Abort(&abort_context, abort, &aborted).ok());
  }
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(engine_.inference.aborted(), ElementsAre("bob/mine", "alice/mine"));
}

// Certificates for this run, made by openssl, which libgrpc's development package brings along.
class TlsTest : public AccessTest {
 protected:
  void SetUp() override {
    if (std::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no openssl on this machine";
    const std::string script =
        "cd '" + testing::TempDir() +
        "' && set -e; new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out "
        "$1.csr "
        "-subj /CN=$2; }; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out "
        "ca.pem "
        "-subj /CN=ca -days 2; new server localhost; new client carol; printf subjectAltName=DNS:localhost >san; "
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -out server.pem -days "
        "2; "
        "openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out client.pem -days 2";
    ASSERT_EQ(std::system(("(" + script + ") >/dev/null 2>&1").c_str()), 0);
  }
  static std::string File(const std::string& name) { return *ReadFile(testing::TempDir() + "/" + name); }

  void Connect(bool with_certificate) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = File("ca.pem");
    if (with_certificate) {
      ssl.pem_cert_chain = File("client.pem");
      ssl.pem_private_key = File("client.key");
    }
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ =
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::SslCredentials(ssl), arguments);
  }
};

TEST_F(TlsTest, ACallerWithoutACertificateIsRefusedButForHealth) {
  Restart({.port = 0,
           .tls_certificate = File("server.pem"),
           .tls_key = File("server.key"),
           .tls_client_ca = File("ca.pem")});
  Connect(false);
  EXPECT_EQ(Health(""), "SERVING");
  const grpc::Status status = Status({});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(status.error_message(), HasSubstr("no client certificate"));
  Connect(true);
  EXPECT_TRUE(Status({}).ok()) << Status({}).error_message();
}

TEST_F(TlsTest, KeysWorkOverTlsAndPlainTextDoesNot) {
  Restart({.port = 0, .tls_certificate = File("server.pem"), .tls_key = File("server.key"), .api_keys = kKeys});
  EXPECT_EQ(Status({"Bearer " + kKeys[0].key}).error_code(), grpc::StatusCode::UNAVAILABLE);
  Connect(false);
  EXPECT_TRUE(Status({"Bearer " + kKeys[0].key}).ok());
  EXPECT_EQ(Status({}).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST(TlsOptionsTest, WhatIsNoPemIsRefused) {
  FakeEngine engine;
  const auto server = GrpcServer::Start({.port = 0, .tls_certificate = "x", .tls_key = "y"}, engine.host());
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("the TLS certificate has no '-----BEGIN'"));
}

class TextTest : public GrpcServerTest {};

TEST_F(TextTest, TokenizeAndDetokenizeAreInverse) {
  const auto stub = v1::Inference::NewStub(channel_);
  grpc::ClientContext first, second, third;
  v1::TokenizeRequest request;
  request.set_text("ab");
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(stub->Tokenize(&first, request, &tokens).ok());
  EXPECT_THAT(tokens.ids(), ElementsAre(FakeTokenizer::kBos, 'a' + 1, 'b' + 1));
  EXPECT_THAT(tokens.tokens(), ElementsAre("", "a", "b"));
  v1::DetokenizeRequest back;
  *back.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse text;
  ASSERT_TRUE(stub->Detokenize(&second, back, &text).ok());
  EXPECT_EQ(text.text(), "ab");
  back.add_ids(300);
  EXPECT_THAT(stub->Detokenize(&third, back, &text).error_message(), HasSubstr("ids[3] is 300, want 0 to 256"));
}

// What a hostile client may try: each gets a status, and the next caller an answer.
class HostileTest : public GrpcServerTest {};

TEST_F(HostileTest, HugeMetadataIsRefused) {
  grpc::ClientContext context;
  context.AddMetadata("x-junk", std::string(1 << 20, 'j'));
  v1::TokenizeRequest request;
  request.set_text("ab");
  v1::TokenizeResponse response;
  const auto stub = v1::Inference::NewStub(channel_);
  EXPECT_EQ(stub->Tokenize(&context, request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  channel_ = NewChannel();  // the old connection may be closed
  EXPECT_EQ(Health(""), "SERVING");
}

TEST_F(HostileTest, A64MegabytePromptIsRefusedBeforeItIsTokenized) {
  auto server = GrpcServer::Start({.port = 0, .max_message_bytes = 80 << 20}, engine_.host());
  ASSERT_TRUE(server.ok());
  server_ = *std::move(server);
  channel_ = NewChannel();
  grpc::ClientContext context;
  const auto reader =
      v1::Inference::NewStub(channel_)->Generate(&context, TextRequest(std::string(size_t{64} << 20, 'x')));
  v1::GenerateResponse response;
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("prompt has 67108864 bytes, want at most 65536"));
  EXPECT_EQ(Health(""), "SERVING");
}

TEST_F(HostileTest, HalfOpenStreamsHoldUpNobody) {
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::GenericClientAsyncReaderWriter>> calls;
  for (int i = 0; i < 500; ++i) {  // headers, and never a message
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    calls.push_back(stub.PrepareCall(contexts.back().get(), "/tandem.v1.Inference/Generate", &queue));
    calls.back()->StartCall(nullptr);
  }
  void* tag;
  bool ok;
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(Health(""), "SERVING");
  server_->Shutdown(absl::ZeroDuration());  // they do not hold up the end either
  std::vector<grpc::Status> statuses(calls.size());
  for (size_t i = 0; i < calls.size(); ++i) calls[i]->Finish(&statuses[i], nullptr);
  for (size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(queue.Next(&tag, &ok));
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  for (const grpc::Status& status : statuses) EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace tandem
