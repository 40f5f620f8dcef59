// The life of tandemd on a fake engine: start-up errors in one line, serving, drain, the second signal.
#include "daemon/daemon.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <future>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "daemon/supervisor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// Can say why it ended by itself.
class FailingModel : public FakeModel {
 public:
  FailingModel(FakeEngine* engine, std::function<void(absl::Duration, std::string_view)> on_drain,
               const absl::Status* failure)
      : FakeModel(engine, std::move(on_drain)), failure_(failure) {}
  absl::Status failure() const override { return *failure_; }

 private:
  const absl::Status* const failure_;
};

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    CHECK(::pipe(stop_pipe_) == 0);
    hooks_.load_model = [this](const Config&, const ModelSource&, const LoadProgress& progress,
                               const std::function<void()>& lost) -> absl::StatusOr<std::unique_ptr<LoadedModel>> {
      RETURN_IF_ERROR(on_load_(progress));
      lose_device_ = lost;
      return std::make_unique<FailingModel>(
          &engine_, [this](absl::Duration grace, std::string_view) { on_drain_(grace); }, &failure_);
    };
    hooks_.stop_fd = stop_pipe_[0];
    hooks_.on_ready = [this](int port) { ready_.set_value(port); };
    hooks_.stop_at_once = [this] { on_second_signal_(); };
    config_ = testing::TempDir() + "/daemon.yaml";
    CHECK(WriteFileAtomically(config_, "{model: {path: " + testing::TempDir() +
                                           "}, server: {port: 0}, shutdown: {grace: 7s}, log: {level: 'off'}}")
              .ok());
  }
  ~DaemonTest() override {
    ::close(stop_pipe_[0]);
    ::close(stop_pipe_[1]);
  }

  int Run(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv = {"tandemd"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return RunTandemd(static_cast<int>(argv.size()), argv.data(), hooks_, out_, err_);
  }
  void Signal() { CHECK(::write(stop_pipe_[1], "x", 1) == 1); }

  FakeEngine engine_;
  std::function<absl::Status(const LoadProgress&)> on_load_ = [](const LoadProgress&) { return absl::OkStatus(); };
  std::function<void(absl::Duration)> on_drain_ = [](absl::Duration) {};
  std::function<void()> on_second_signal_ = [] {};
  std::function<void()> lose_device_;
  absl::Status failure_;
  int stop_pipe_[2];
  DaemonHooks hooks_;
  std::promise<int> ready_;
  std::string config_;
  std::ostringstream out_, err_;
};

TEST_F(DaemonTest, DrainsOnASignalAndExitsWithZero) {
  absl::Duration grace;
  grpc::Status refused;
  std::promise<int> port;
  on_drain_ = [&](absl::Duration given) {
    grace = given;
    // By now no new request is taken.
    const auto channel =
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port.get_future().get()), grpc::InsecureChannelCredentials());
    grpc::ClientContext context;
    v1::GenerateRequest request;
    request.set_text("hi");
    const auto reader = v1::Inference::NewStub(channel)->Generate(&context, request);
    refused = reader->Finish();
  };
  std::future<int> code = std::async(std::launch::async, [&] { return Run({"--config", config_}); });
  port.set_value(ready_.get_future().get());
  Signal();
  EXPECT_EQ(code.get(), 0);
  EXPECT_EQ(grace, absl::Seconds(7));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refused.error_message(), "tandemd is shutting down");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(DaemonTest, ASecondSignalStopsAtOnce) {
  std::promise<void> draining, stopped;
  on_drain_ = [&](absl::Duration) {
    draining.set_value();
    stopped.get_future().wait();  // never, as far as the drain knows
  };
  on_second_signal_ = [&] { stopped.set_value(); };
  std::future<int> code = std::async(std::launch::async, [&] { return Run({"--config", config_}); });
  ready_.get_future().wait();
  Signal();
  draining.get_future().wait();
  Signal();
  EXPECT_EQ(code.wait_for(kTestPatience), std::future_status::ready);
}

TEST_F(DaemonTest, ALostDeviceDrainsSaysSoAndAsksForAnotherProcess) {
  std::future<int> code = std::async(std::launch::async, [&] { return Run({"--config", config_}); });
  ready_.get_future().wait();
  failure_ = absl::UnavailableError("the device is lost");
  lose_device_();
  EXPECT_EQ(code.get(), kRestartExitCode);
  EXPECT_EQ(err_.str(), "tandemd: the device is lost\n");
}

TEST_F(DaemonTest, ASupervisorRunsWhereADeviceIsUsedUnlessTold) {
  bool device = true;
  hooks_.uses_device = [&](const Config&) { return device; };
  hooks_.supervise = [](const Config& config) { return config.supervisor.max_delay == absl::Seconds(9) ? 7 : 8; };
  EXPECT_EQ(Run({"--config", config_, "--set", "supervisor.max_delay=9s"}), 7);
  device = false;
  EXPECT_EQ(Run({"--config", config_, "--set", "supervisor.restart=always"}), 8);
  for (const char* restart : {"auto", "never"}) {
    device = std::string_view(restart) == "never";
    EXPECT_EQ(Run({"--config", config_, "--set", std::string("supervisor.restart=") + restart, "--set",
                   "model.path=/no/model"}),
              1)
        << restart;
  }
  hooks_.supervise = [](const Config&) { return absl::UnavailableError("starting the worker: no more processes"); };
  err_.str("");
  EXPECT_EQ(Run({"--config", config_, "--set", "supervisor.restart=always"}), 1);
  EXPECT_EQ(err_.str(), "tandemd: starting the worker: no more processes\n");
}

TEST_F(DaemonTest, ATakenPortIsOneLineAndExitCodeOne) {
  GrpcServerOptions options;
  options.port = 0;
  const auto other = GrpcServer::Start(options, engine_.host());
  ASSERT_TRUE(other.ok()) << other.status();
  const std::string port = std::to_string((*other)->port());
  EXPECT_EQ(Run({"--config", config_, "--set", "server.port=" + port}), 1);
  EXPECT_EQ(err_.str(), "tandemd: cannot listen on 127.0.0.1:" + port + ": Address already in use\n");
}

TEST_F(DaemonTest, ABrokenConfigurationIsOneLineAndExitCodeOne) {
  EXPECT_EQ(Run({"--config", config_, "--set", "server.prot=1"}), 1);
  EXPECT_EQ(err_.str(), "tandemd: --set server.prot=1: unknown key 'server.prot'; did you mean 'server.port'?\n");
}

TEST_F(DaemonTest, AMissingModelIsOneLineAndExitCodeOne) {
  EXPECT_EQ(Run({"--config", config_, "--set", "model.path=/no/model"}), 1);
  EXPECT_EQ(err_.str(), "tandemd: model.path /no/model: No such file or directory\n");
}

TEST_F(DaemonTest, AModelThatDoesNotLoadIsOneLineAndExitCodeOne) {
  on_load_ = [](const LoadProgress&) {
    return absl::InvalidArgumentError("models/demo/config.json: hidden_size is missing, want an integer");
  };
  EXPECT_EQ(Run({"--config", config_}), 1);
  EXPECT_EQ(err_.str(), "tandemd: models/demo/config.json: hidden_size is missing, want an integer\n");
}

TEST_F(DaemonTest, ASignalEndsTheLoadingAndTheDaemon) {
  std::promise<void> loading;
  on_load_ = [&](const LoadProgress& progress) {
    loading.set_value();
    while (true) RETURN_IF_ERROR(progress(0.5));
  };
  std::future<int> code = std::async(std::launch::async, [&] { return Run({"--config", config_}); });
  loading.get_future().wait();
  Signal();
  EXPECT_EQ(code.get(), 0);
  EXPECT_EQ(err_.str(), "");
}

TEST_F(DaemonTest, WithoutAModelItIsReadyAndSaysSoToCallers) {
  std::future<int> code = std::async(std::launch::async, [&] {
    return Run({"--config", config_, "--set", "model.path="});
  });
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(ready_.get_future().get()), grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("hi");
  const grpc::Status refused = v1::Inference::NewStub(channel)->Generate(&context, request)->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("tandem models load PATH"));
  Signal();
  EXPECT_EQ(code.get(), 0);
}

TEST_F(DaemonTest, CheckConfigServesNothing) {
  EXPECT_EQ(Run({"--config", config_, "--check-config"}), 0);
  EXPECT_EQ(out_.str(), config_ + ": good\n");
}

TEST_F(DaemonTest, AWrongCommandLineIsExitCodeTwo) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("--config is required"));
  EXPECT_EQ(Run({"--config", config_, "--nonsense"}), 2);
}

TEST_F(DaemonTest, TellsItsVersion) {
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_EQ(out_.str(), "tandemd " TANDEM_VERSION "\n");
}

}  // namespace
}  // namespace tandem
