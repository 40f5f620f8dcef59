// tandemd on the emulated device, for restart_test: its first process breaks the device and asks for tokens, the next
// one asks for tokens and stops. Each leaves the status of its request as a line in the file FILE.
//   lost_device_worker CONFIG FILE
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "base/check.h"
#include "cuda_emulation/emulation.h"
#include "daemon/daemon.h"
#include "daemon/supervisor.h"
#include "serve/engine_model.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "test_backend.h"

namespace tandem {
namespace {

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadEmulated(const ModelSource& source, const LoadProgress& progress,
                                                          const std::function<void()>& on_device_lost) {
  EngineOptions options;
  options.model_path = source.path;
  options.max_context = 128;
  options.kv_capacity_tokens = 512;
  options.scheduler.max_batch_rows = 64;
  options.progress = progress;
  options.on_device_lost = on_device_lost;
  auto engine = Engine::Create(options, MakeTestBackend(1));
  if (!engine.ok()) return engine.status();
  return std::make_unique<EngineModel>(*std::move(engine));
}

grpc::Status Generate(int port) {
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(5);
  request.mutable_stopping()->set_max_tokens(2);
  const auto reader = v1::Inference::NewStub(channel)->Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) continue;
  return reader->Finish();
}

int Main(const char* config, const std::string& file) {
  const bool first = !std::filesystem::exists(file);
  int stop_pipe[2];
  CHECK(::pipe(stop_pipe) == 0);
  std::thread client;
  DaemonHooks hooks;
  hooks.load_model = [](const Config&, const ModelSource& source, const LoadProgress& progress,
                        const std::function<void()>& lost) { return LoadEmulated(source, progress, lost); };
  hooks.stop_fd = stop_pipe[0];
  hooks.on_ready = [&](int port) {
    client = std::thread([&, port] {
      if (first) cuda_emulation::BreakDevice(cudaErrorIllegalAddress);
      std::ofstream(file, std::ios::app) << Generate(port).error_code() << "\n";
      if (!first) CHECK(::write(stop_pipe[1], "x", 1) == 1);
    });
  };
  const std::vector<const char*> arguments = {"tandemd", "--config", config};
  const int code = RunTandemd(static_cast<int>(arguments.size()), arguments.data(), hooks, std::cout, std::cerr);
  client.join();
  return code;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return argc == 3 ? tandem::Main(argv[1], argv[2]) : 2;
}
